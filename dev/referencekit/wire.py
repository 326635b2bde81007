"""The page of the API: routes, their parameters and the documents that cross the socket."""

import inspect
import re
import typing

from dev.referencekit.tables import NONE, code, first_sentence, format_table
from ds01.api import (
    change_schema,
    event_schema,
    foreign_schema,
    image_schema,
    machine_schema,
    mig_schema,
    queue_schema,
    renewal_schema,
    schema,
    session_schema,
)
from ds01.api.routes import ROUTES


def route_table() -> str:
    """Return the table of routes."""
    return format_table(
        ("route", "name", "body", "answer", "errors", "what it does"),
        (
            (
                code(f"{route.method} {route.path}"),
                code(route.name),
                _link(route.body),
                _link(route.answer) + ("" if route.answer_kind == "json" else f" ({route.answer_kind})"),
                ", ".join(code(error) for error in route.errors) or NONE,
                route.summary,
            )
            for route in ROUTES
        ),
    )


def parameter_table() -> str:
    """Return the table of query parameters."""
    return format_table(
        ("route", "parameter", "type", "meaning"),
        (
            (code(route.name), code(parameter.name), parameter.type, parameter.meaning)
            for route in ROUTES
            for parameter in route.parameters
        ),
    )


def document_tables() -> str:
    """Return a heading, a sentence and a table of fields for each document."""
    return "\n\n".join(_document(document) for document in documents())


def documents() -> list[type]:
    """Return every TypedDict of the API's modules, each module's own in the order of its file."""
    found: list[type] = []
    for module in (
        schema,
        session_schema,
        image_schema,
        machine_schema,
        foreign_schema,
        change_schema,
        mig_schema,
        queue_schema,
        renewal_schema,
        event_schema,
    ):
        source = inspect.getsource(module)
        own = [
            item for _, item in inspect.getmembers(module, typing.is_typeddict) if item.__module__ == module.__name__
        ]
        found += sorted(own, key=lambda item: source.index(f"class {item.__name__}("))
    return found


def _document(document: type) -> str:
    optional: frozenset[str] = document.__optional_keys__  # type: ignore[attr-defined]  # every TypedDict has it
    hints = typing.get_type_hints(document)
    rows = ((code(name), code(_type_text(hint)), "no" if name in optional else "yes") for name, hint in hints.items())
    return f"### {document.__name__}\n\n{first_sentence(document)}\n\n" + format_table(
        ("field", "type", "always there"), rows
    )


def _type_text(hint: object) -> str:
    text = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    text = re.sub(r"\b(typing|ds01\.api\.\w+|collections\.abc)\.", "", text).replace("Mapping[", "dict[")
    return text.replace("NoneType", "None").replace(" | ", " or ")


def _link(document: type | None) -> str:
    return f"[{document.__name__}](#{document.__name__.lower()})" if document else NONE
