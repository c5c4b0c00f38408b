"""The OpenAPI document: structurally right, and about every route that is served."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mux.web.admin_api import ENDPOINTS, admin_api
from mux.web.admin_api_endpoint import Endpoint, Scope
from mux.web.admin_api_openapi import openapi_document
from mux.web.api_models import API_PREFIX
from tests.admin.support import Admin, token_for

DOCUMENT = openapi_document(ENDPOINTS, version="1.2.3")
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_the_document_has_what_openapi_3_1_requires() -> None:
    assert re.fullmatch(r"3\.1\.\d+", DOCUMENT["openapi"])
    assert DOCUMENT["info"]["title"]
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert DOCUMENT["servers"] == [{"url": API_PREFIX}]
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_every_operation_is_whole() -> None:
    ids = []
    for path, method, operation in operations():
        assert path.startswith("/")
        assert method in METHODS
        ids.append(operation["operationId"])
        assert operation["summary"]
        assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}
        assert any(status.startswith("2") for status in operation["responses"])
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert response["description"]
            for content in response["content"].values():
                assert content["schema"]
        templated = set(re.findall(r"\{(\w+)\}", path))
        declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert templated == declared
        if method == "get":
            assert "requestBody" not in operation
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    used = set(references(DOCUMENT))
    assert used <= known
    assert known <= used


def test_every_guarded_operation_names_a_scheme_that_exists_and_the_open_one_none() -> None:
    schemes = set(DOCUMENT["components"]["securitySchemes"])
    for path, _, operation in operations():
        if path == "/healthz":
            assert operation["security"] == []
        else:
            [requirement] = operation["security"]
            assert set(requirement) <= schemes
            assert requirement["token"][0] in {scope.value for scope in Scope}
            assert {"401", "403", "429"} <= set(operation["responses"])


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation_id)
def test_each_route_of_the_table_is_in_the_document(endpoint: Endpoint) -> None:
    operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    assert str(endpoint.status) in operation["responses"]
    assert ("requestBody" in operation) == (endpoint.request is not None)


async def test_each_route_that_is_served_is_in_the_document(admin: Admin) -> None:
    served = {route.path for route in admin_api(admin.deps, trusted=False)}
    described = {API_PREFIX + path for path in DOCUMENT["paths"]}
    assert served - described == {API_PREFIX, API_PREFIX + "/{unknown:.*}"}
    assert described <= served


def test_requests_refuse_unknown_fields_in_the_schema_too() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.request is not None:
            schema = DOCUMENT["components"]["schemas"][endpoint.request.__name__]
            assert schema["additionalProperties"] is False


async def test_the_document_is_served(admin: Admin) -> None:
    answer = await admin.remote("GET", "/openapi.json", token=await token_for(admin, "read"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["info"]["version"] == "0.0.1"
    assert answer.json["paths"] == DOCUMENT["paths"]


def test_the_reference_page_lists_every_endpoint_with_its_scope() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/admin-api.md").read_text()
    listed = set(re.findall(r"^\| `(GET|POST|DELETE) (/[^`]*)` \| (\w+) \|", page, re.MULTILINE))
    table = {(e.method, e.path, e.scope.value if e.scope else "none") for e in ENDPOINTS}
    assert listed == table
