"""The OpenAPI 3.1 document, generated from the routes and the schema, so that it cannot say anything else."""

import re
from typing import Any

import msgspec

from ds01.api import problem, schema
from ds01.api.route import Route
from ds01.api.routes import ROUTES
from ds01.errors import all_error_classes

_REFERENCES = "#/components/schemas/{name}"
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")


def build_openapi(version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        version: Version of the product.
    """
    types = [kind for route in ROUTES for kind in (route.answer, route.body) if kind is not None]
    types += [schema.Problem, *(route.lines for route in ROUTES)]
    _, components = msgspec.json.schema_components(
        list(dict.fromkeys(types)), ref_template=_REFERENCES, schema_hook=_schema_of
    )
    paths: dict[str, dict[str, object]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DS01",
            "version": version,
            "description": "Served on a Unix socket; the caller is the peer's uid.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _schema_of(kind: type) -> dict[str, object]:
    """Return the schema of what the engine or another version defines: anything.

    Raises:
        NotImplementedError: A type that no wire document has. Source: msgspec, `schema_hook`, which asks for this one.
    """
    if kind is object:
        return {"description": "Any value."}
    raise NotImplementedError(f"no schema for {kind}")


def _operation(route: Route) -> dict[str, object]:
    operation: dict[str, object] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {**_success(route), **_failures(route)},
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(route.body)}},
        }
    if route.takes_archive:
        operation["requestBody"] = {"required": True, "content": {"application/x-tar": {}}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, object]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, object]]:
    return [
        {"name": item.name, "in": "query", "description": item.meaning, "schema": {"type": item.type}}
        for item in route.parameters
    ]


def _success(route: Route) -> dict[str, object]:
    if route.answer_kind == "upgrade":
        return {"101": {"description": "The connection carries the program's bytes."}}
    if route.answer is None:
        return {"200": {"description": route.summary, "content": {"application/octet-stream": {}}}}
    content: dict[str, object] = {"application/json": {"schema": _reference(route.answer)}}
    if route.answer_kind == "stream":
        content["application/x-ndjson"] = {"schema": _reference(route.lines)}
    return {"200": {"description": route.summary, "content": content}}


def _failures(route: Route) -> dict[str, object]:
    """Several errors can share a status: each status lists its codes."""
    codes = {*route.errors, "invalid_request", "backend_failed", "backend_timeout", "forbidden"}
    by_status: dict[str, list[str]] = {}
    for error in all_error_classes():
        if error.code in codes and error.http_status is not None:
            by_status.setdefault(str(error.http_status), []).append(error.code)
    return {
        status: {
            "description": " | ".join(found),
            "content": {problem.CONTENT_TYPE: {"schema": _reference(schema.Problem)}},
        }
        for status, found in sorted(by_status.items())
    }


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": _REFERENCES.format(name=kind.__name__)}
