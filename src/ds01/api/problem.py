"""Errors on the wire: RFC 9457 problem documents, both directions. Standard library only: the client uses it too."""

from collections.abc import Mapping
from typing import cast

from ds01.api.schema import Problem
from ds01.errors import EXIT_FAILURE, Ds01Error, all_error_classes

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:ds01:error:"


def problem_of(error: Ds01Error) -> Problem:
    """Return the document for an error."""
    document = Problem(
        type=TYPE_PREFIX + error.code,
        title=error.title,
        status=error.http_status or 500,
        detail=error.message,
        code=error.code,
        exit_status=error.exit_status,
    )
    if error.hint is not None:
        document["hint"] = error.hint
    if error.details:
        document["details"] = error.details
    return document


def error_of(document: Mapping[str, object]) -> Ds01Error:
    """Return the error that a document describes; an unknown code becomes a plain Ds01Error."""
    code = document.get("code")
    by_code = {error_class.code: error_class for error_class in all_error_classes()}
    error_class = by_code.get(code, Ds01Error) if isinstance(code, str) else Ds01Error
    hint = document.get("hint")
    details = document.get("details")
    error = error_class(
        str(document.get("detail") or document.get("title") or "The daemon refused the request without a reason."),
        hint=hint if isinstance(hint, str) else None,
        details=cast("Mapping[str, object]", details) if isinstance(details, Mapping) else None,
    )
    exit_status = document.get("exit_status")
    if error_class is Ds01Error and isinstance(exit_status, int):
        error.exit_status = exit_status or EXIT_FAILURE
    return error
