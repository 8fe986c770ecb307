"""The description of the admin API, made from its operations and models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from gatewayd._version import __version__
from gatewayd.admin import models
from gatewayd.admin.table import OPERATIONS

if TYPE_CHECKING:
    from gatewayd.admin.table import Operation

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{model}"
_PROBLEMS = {
    "400": "The request is malformed, or refused.",
    "401": "The token is missing or wrong.",
    "403": "The request comes from a web page, or by another name of this host.",
    "404": "There is none of this name.",
    "405": "The path does not take this method.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The body does not say what is expected, or the configuration is refused.",
    "503": "No worker answers, or too many requests run.",
}


def describe() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    used = {
        model for one in OPERATIONS for model in (one.result, one.body) if model is not None
    } | {models.Problem}
    ordered = sorted(used, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    paths["/metrics"] = {"get": _METRICS}
    paths["/openapi.json"] = {"get": _DESCRIPTION}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gatewayd admin API",
            "version": __version__,
            "description": "What operators see of a running node, and what they may do with it.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(one: Operation) -> dict[str, Any]:
    result: dict[str, Any] = {"$ref": _REF.format(model=one.result.__name__)}
    if one.many:
        result = {"type": "array", "items": result}
    described: dict[str, Any] = {
        "summary": one.summary,
        "operationId": one.handler.__name__,
        "responses": {"200": {"description": "Done.", "content": _json(result)}} | _problems(),
    }
    if one.path == "/ready":
        described["responses"]["503"] = {"description": "None is.", "content": _json(result)}
    if one.open:
        described["security"] = []
    if one.body is not None:
        schema = {"$ref": _REF.format(model=one.body.__name__)}
        described["requestBody"] = {"required": True, "content": _json(schema)}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(one.path)
    ]
    if parameters:
        described["parameters"] = parameters
    return described


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _problems() -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {status: {"description": text, "content": content} for status, text in _PROBLEMS.items()}


_METRICS: dict[str, Any] = {
    "summary": "What all workers have counted, for Prometheus, in its text format or OpenMetrics.",
    "operationId": "metrics",
    "responses": {
        "200": {
            "description": "The page.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        }
    }
    | _problems(),
}
_DESCRIPTION: dict[str, Any] = {
    "summary": "This document.",
    "operationId": "openapi",
    "responses": {"200": {"description": "It.", "content": _json({"type": "object"})}}
    | _problems(),
}
