"""The OpenAPI 3.1 document of the admin API, generated from the route table and its pydantic models.

Pure: endpoints in, a JSON-like mapping out. The source is the OpenAPI Specification 3.1.0 (sections Paths Object,
Operation Object, Components Object, Security Requirement Object); its schemas are JSON Schema 2020-12, which is what
pydantic writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mux.web.admin_api_endpoint import Endpoint, Scope
from mux.web.api_models import API_PREFIX, ErrorResponse

OPENAPI_VERSION = "3.1.0"

_REFUSALS_ALWAYS = (500, 503)
_REFUSALS_GUARDED = (401, 403, 429)
_REFUSALS_WITH_BODY = (400, 413, 415, 422)


def openapi_document(endpoints: Iterable[Endpoint], *, version: str) -> dict[str, Any]:
    """The document. ``version`` is the program's."""
    endpoints = tuple(endpoints)
    references, schemas = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, references)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "mux admin API",
            "version": version,
            "description": "What organizers can see and do. Served on the admin listener with bearer tokens, and on a "
            "Unix socket in the data directory for the local command line.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": API_PREFIX}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `mux token add`. Scopes: read, fleet, roster, apply, files. What needs "
                    "`local` is served on the Unix socket only.",
                }
            },
        },
    }


def _schemas(endpoints: Iterable[Endpoint]) -> tuple[dict[type[BaseModel], dict[str, Any]], dict[str, Any]]:
    """A reference by model, and every schema by name."""
    requests: dict[type[BaseModel], None] = {}
    responses: dict[type[BaseModel], None] = {ErrorResponse: None}
    for endpoint in endpoints:
        if endpoint.request is not None:
            requests[endpoint.request] = None
        if not isinstance(endpoint.response, str):
            responses[endpoint.response] = None
    mapping, definitions = models_json_schema(
        [(model, "validation") for model in requests] + [(model, "serialization") for model in responses],
        ref_template="#/components/schemas/{model}",
    )
    by_model = {model: schema for (model, _), schema in mapping.items() if issubclass(model, BaseModel)}
    return by_model, definitions["$defs"]


def _operation(endpoint: Endpoint, references: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    error = {"application/json": {"schema": references[ErrorResponse]}}
    if isinstance(endpoint.response, str):
        content: dict[str, Any] = {endpoint.response.split(";")[0]: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": references[endpoint.response]}}
    refusals = {*_REFUSALS_ALWAYS, *endpoint.refusals}
    if endpoint.scope is not None:
        refusals |= {*_REFUSALS_GUARDED}
    if endpoint.parameters:
        refusals.add(404)
    if endpoint.request is not None:
        refusals |= {*_REFUSALS_WITH_BODY}
    operation: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "responses": {
            str(endpoint.status): {"description": HTTPStatus(endpoint.status).phrase, "content": content},
            **{
                str(status): {"description": HTTPStatus(status).phrase, "content": error} for status in sorted(refusals)
            },
        },
        "security": [] if endpoint.scope is None else [{"token": [endpoint.scope.value]}],
    }
    if endpoint.scope is Scope.LOCAL:
        operation["description"] = "Only over the local Unix socket."
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 320}}
        for name in endpoint.parameters
    ] + [
        {"name": name, "in": "query", "description": text, "schema": {"type": "boolean", "default": False}}
        for name, text in endpoint.flags.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.request is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": references[endpoint.request]}},
        }
    return operation
