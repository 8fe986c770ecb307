"""One JSON Schema (2020-12) of the whole configuration, with all installed filters.

It is what pydantic makes of the models, put together: the settings of each filter wherever its name
may stand, the keys of each discovery in the services that choose it, the shorthands in the routes.
Third-party plugins are in it like the built-in ones. It describes files as they are written, so a
value may also be a reference to a secret, and a file that is included need not be complete.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gatewayd.config.schema import GatewayConfig, ServiceConfig
from gatewayd.config.shorthands import shorthands_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gatewayd.registry import Plugins

Schema = dict[str, Any]

_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_BY_NAME = frozenset({"properties", "patternProperties"})  # hold schemas by name, not keywords
_REFERENCE: Schema = {
    "description": "A value from outside the file: `${NAME}`, or the content of a file.",
    "anyOf": [
        {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"},
        {
            "type": "object",
            "properties": {"file": {"type": "string"}},
            "required": ["file"],
            "additionalProperties": False,
        },
    ],
}


def json_schema(plugins: Plugins) -> Schema:
    """Return the JSON Schema of a configuration file.

    Raises:
        PluginError: a plugin cannot be loaded.

    """
    root, definitions = describe(GatewayConfig)
    definitions["RouteConfig"] = _route(definitions["RouteConfig"], plugins)
    definitions["ServiceConfig"] = _service(definitions["ServiceConfig"], definitions, plugins)
    names = definitions["PipelineConfig"]["properties"]["filters"]["items"]
    names["enum"] = plugins.filters.names
    layers = _filters(definitions, plugins)
    root["properties"]["filters"].update(_table(layers))
    overrides = {name: {"anyOf": [layer, {"type": "boolean"}]} for name, layer in layers.items()}
    for model in ("RouteConfig", "ServiceConfig"):
        definitions[model]["properties"]["filters"].update(_table(overrides))
    root["properties"]["include"] = {
        "description": "Further files, by name or pattern, relative to this one.",
        "type": "array",
        "items": {"type": "string"},
    }
    definitions = {name: _with_references(schema) for name, schema in definitions.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gatewayd configuration",
        **_with_references(root),
        "$defs": {**definitions, "reference": _REFERENCE},
    }


def describe(model: type[BaseModel], prefix: str = "") -> tuple[Schema, dict[str, Schema]]:
    """Return the schema of a model and those that it refers to, by name.

    Args:
        model: The model.
        prefix: Put before the names, so that models of different plugins do not collide.

    """
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    definitions = schema.pop("$defs", {})
    return _clean(schema), {f"{prefix}{name}": _clean(one) for name, one in definitions.items()}


def _clean(schema: Any) -> Any:
    """Drop what only repeats names and types; TOML has no null, absence stands for it."""
    if isinstance(schema, list):
        return [_clean(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned: Schema = {}
    for key, value in schema.items():
        if key in _BY_NAME:
            cleaned[key] = {name: _clean(one) for name, one in value.items()}
        elif key == "description":
            cleaned[key] = inspect.cleandoc(value)
        elif key == "default":
            if value is not None:
                cleaned[key] = value
        elif key != "title":
            cleaned[key] = _clean(value)
    if "patternProperties" in cleaned:  # names of which pydantic knows the form
        cleaned.setdefault("additionalProperties", False)
    alternatives = [one for one in cleaned.get("anyOf", ()) if one != {"type": "null"}]
    if len(alternatives) == 1:
        del cleaned["anyOf"]
        return {**alternatives[0], **cleaned}
    return {**cleaned, "anyOf": alternatives} if alternatives else cleaned


def _filters(definitions: dict[str, Schema], plugins: Plugins) -> dict[str, Schema]:
    """Define the settings of every filter. Layers are merged, so one alone need not be complete."""
    layers = {}
    for name in plugins.filters.names:
        schema, below = describe(plugins.filters.load(name).Config, f"filters.{name}.")
        schema.pop("required", None)
        definitions |= {f"filters.{name}": schema, **below}
        layers[name] = {"$ref": f"#/$defs/filters.{name}"}
    return layers


def _route(route: Schema, plugins: Plugins) -> Schema:
    shorthands = {
        key: {"description": f"Shorthand for settings of the filter `{name}`."}
        for key, name in shorthands_of(plugins, plugins.filters.names)
    }
    properties = {**shorthands, **route["properties"]}
    return {**route, "properties": properties, "additionalProperties": False}


def _service(service: Schema, definitions: dict[str, Schema], plugins: Plugins) -> Schema:
    """Let a service have the keys of the discovery that it chooses, and no others."""
    default = ServiceConfig.model_fields["discovery"].default
    choices = []
    for name in plugins.discovery.names:
        schema, below = describe(plugins.discovery.load(name).Config, f"discovery.{name}.")
        schema.pop("additionalProperties", None)  # it sees the service's own keys as well
        definitions |= {f"discovery.{name}": schema, **below}
        chosen: Schema = {"properties": {"discovery": {"const": name}}}
        if name != default:
            chosen["required"] = ["discovery"]
        choices.append({"if": chosen, "then": {"$ref": f"#/$defs/discovery.{name}"}})
    properties = {key: dict(one) for key, one in service["properties"].items()}
    properties["discovery"]["enum"] = plugins.discovery.names
    closed = {key: value for key, value in service.items() if key != "additionalProperties"}
    return {**closed, "properties": properties, "allOf": choices, "unevaluatedProperties": False}


def _table(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _with_references(schema: Schema) -> Schema:
    """Let a reference stand wherever a scalar may."""
    schema = _descend(schema)
    alternatives = schema.get("anyOf", [schema])
    if not any(one.get("type") in _SCALARS or "enum" in one for one in alternatives):
        return schema
    notes: Schema = {key: schema[key] for key in ("description", "default") if key in schema}
    plain = [{key: one[key] for key in one if key not in notes} for one in alternatives]
    return {**notes, "anyOf": [*plain, {"$ref": "#/$defs/reference"}]}


def _descend(schema: Schema) -> Schema:
    schema = dict(schema)
    for key in _BY_NAME & schema.keys():
        schema[key] = {name: _with_references(one) for name, one in schema[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _with_references(schema[key])
    if "anyOf" in schema:
        schema["anyOf"] = [_descend(one) for one in schema["anyOf"]]
    return schema
