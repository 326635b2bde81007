"""The OpenAPI document and the table of routes."""

import json
import re
from collections.abc import Iterator

import pytest

from ds01.api import schema
from ds01.api.codec import decode, encode
from ds01.api.openapi import build_openapi
from ds01.api.problem import CONTENT_TYPE
from ds01.api.routes import ROUTES, Route
from ds01.errors import all_error_classes

DOCUMENT = json.loads(encode(build_openapi("1.2.3")))
# OpenAPI 3.1, sections 4.8.9 to 4.8.21
METHODS = {"get", "post", "delete"}
OPERATION_KEYS = {"operationId", "summary", "parameters", "requestBody", "responses"}
PARAMETER_KEYS = {"name", "in", "required", "description", "schema"}


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                assert isinstance(item, str)
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(reference: str) -> object:
    found: object = DOCUMENT
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        assert isinstance(found, dict)
        found = found[part]
    return found


def test_the_document_is_openapi_3_1_and_fits_its_own_schema() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert set(DOCUMENT["info"]) >= {"title", "version"}
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert decode(encode(DOCUMENT), schema.OpenApiDocument)


def test_every_reference_resolves_and_every_component_is_used() -> None:
    used = set(references(DOCUMENT))
    assert used
    for reference in used:
        assert isinstance(resolve(reference), dict), reference
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert known == used


def test_every_route_is_there_and_nothing_else() -> None:
    documented = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}
    assert documented == {(route.path, route.method.lower()) for route in ROUTES}


def test_operations_have_unique_ids_and_only_keys_of_the_standard() -> None:
    operations = [(path, method, found) for path, item in DOCUMENT["paths"].items() for method, found in item.items()]
    names = [found["operationId"] for _, _, found in operations]
    assert len(set(names)) == len(names) == len(ROUTES)
    for path, method, found in operations:
        assert method in METHODS
        assert set(found) <= OPERATION_KEYS
        assert re.fullmatch(r"(/[a-z0-9_.{}]+)+", path)
        in_path = {item["name"] for item in found["parameters"] if item["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        places = [(item["in"], item["name"]) for item in found["parameters"]]
        assert len(set(places)) == len(places)
        for item in found["parameters"]:
            assert set(item) <= PARAMETER_KEYS
            assert item["in"] == "query" or item["required"] is True


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_answer_of_a_route_is_said(route: Route) -> None:
    found = DOCUMENT["paths"][route.path][route.method.lower()]
    statuses = {error.code: str(error.http_status) for error in all_error_classes()}
    for code in (*route.errors, "invalid_request", "backend_failed"):
        answer = found["responses"][statuses[code]]
        assert code in answer["description"].split(" | ")
        assert answer["content"][CONTENT_TYPE]["schema"] == {"$ref": "#/components/schemas/Problem"}
    success = found["responses"]["101" if route.answer_kind == "upgrade" else "200"]
    assert success["description"]
    assert ("application/x-ndjson" in success.get("content", {})) == (route.answer_kind == "stream")
    assert ("requestBody" in found) == (route.body is not None or route.takes_archive)


def test_routes_are_named_once_and_their_errors_exist() -> None:
    codes = {error.code for error in all_error_classes() if error.http_status is not None}
    assert len({(route.path, route.method) for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        assert set(route.errors) <= codes
        assert route.summary.endswith(".")
        assert (route.answer is None) == (route.answer_kind in {"bytes", "upgrade"})
        assert route.method != "GET" or route.body is None


def test_fields_that_may_be_left_out_are_not_required() -> None:
    body = DOCUMENT["components"]["schemas"]["CreateContainerBody"]
    assert body["required"] == ["name"]
    assert "framework" in body["properties"]
