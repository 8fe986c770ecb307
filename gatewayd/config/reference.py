"""The reference of the configuration: ``docs/configuration.md`` and the JSON Schema.

Both are made of the models, so they cannot say anything else than what is accepted. What is not in
the models, how files and layers are read, stands in ``introduction.md`` beside this module.

``python -m gatewayd.config.reference docs/configuration.md`` writes the page for gatewayd's own
plugins, whatever else is installed; a test fails when the page differs from what this would write.
"""

from __future__ import annotations

import inspect
import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayd.authentication import AuthMethod
from gatewayd.config.json_schema import Schema, describe, json_schema
from gatewayd.config.schema import GatewayConfig
from gatewayd.exchange import name_of
from gatewayd.filter import Filter
from gatewayd.registry import Plugins, Registry, installed
from gatewayd.services.balancer import Balancer
from gatewayd.services.discovery import Discovery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib.metadata import EntryPoint

    from pydantic import BaseModel

__all__ = [
    "authentication_sections",
    "balancer_sections",
    "built_in_plugins",
    "discovery_sections",
    "filter_sections",
    "json_schema",
    "markdown",
]

# Formats of strings that say more than "string".
_FORMATS = {"ipv4network": "IP network", "ipv6network": "IP network", "ipv4": "IP address",
            "ipv6": "IP address", "uri": "URL"}  # fmt: skip


def markdown(plugins: Plugins) -> str:
    """Return the reference page: how the files are read, then every table of host and plugins.

    Raises:
        PluginError: a plugin cannot be loaded.

    """
    introduction = files("gatewayd.config").joinpath("introduction.md").read_text("utf-8")
    sections = [
        introduction,
        *_host(),
        *_filters(plugins),
        *_balancers(plugins),
        *_discoveries(plugins),
    ]
    return "\n".join(section.rstrip() + "\n" for section in sections)


def built_in_plugins() -> Plugins:
    """Return the plugins of the distribution ``gatewayd`` alone."""

    def own(group: str) -> list[EntryPoint]:
        return [one for one in installed(group) if one.dist and one.dist.name == "gatewayd"]

    return Plugins(
        Registry("gatewayd.filters", Filter, own("gatewayd.filters")),
        Registry("gatewayd.discovery", Discovery, own("gatewayd.discovery")),
        Registry("gatewayd.balancers", Balancer, own("gatewayd.balancers")),
        Registry("gatewayd.authentication", AuthMethod, own("gatewayd.authentication")),
    )


def _host() -> Iterator[str]:
    root, definitions = describe(GatewayConfig)
    yield "## Tables\n"
    yield _keys_table(root, definitions)
    for key, schema in root["properties"].items():
        yield from _nested(key, schema, definitions, level=3)


def _filters(plugins: Plugins) -> Iterator[str]:
    yield "## Filters\n\nThe order in a pipeline follows from what filters need of each other.\n"
    for name in plugins.filters.names:
        yield from filter_sections(plugins.filters.load(name))


def _balancers(plugins: Plugins) -> Iterator[str]:
    yield "## Balancers\n\nA `strategy` is one of these names, or a table of it and its settings.\n"
    for name in plugins.balancers.names:
        yield from balancer_sections(plugins.balancers.load(name))


def _discoveries(plugins: Plugins) -> Iterator[str]:
    yield "## Discovery\n\nA service has the keys of its `discovery` beside its own.\n"
    for name in plugins.discovery.names:
        yield from discovery_sections(plugins.discovery.load(name))


def filter_sections(plugin: type[Filter[Any]]) -> Iterator[str]:
    """Describe a filter and its settings."""
    key = f"filters.{plugin.name}"
    yield from _plugin(f"### `[{key}]`", key, plugin, plugin.Config, _contract(plugin))


def balancer_sections(plugin: type[Balancer]) -> Iterator[str]:
    """Describe a balancer and its settings."""
    key = "filters.balancer.strategy"
    heading = f"### `[{key}]`, `name = {json.dumps(plugin.name)}`"
    yield from _plugin(heading, key, plugin, plugin.Config, _paragraphs(plugin.__doc__)[1:])


def discovery_sections(plugin: type[Discovery]) -> Iterator[str]:
    """Describe a discovery and its settings."""
    heading = f"### `[services.NAME]`, `discovery = {json.dumps(plugin.name)}`"
    yield from _plugin(heading, "services.NAME", plugin, plugin.Config, ())


def authentication_sections(plugin: type[AuthMethod[Any]]) -> Iterator[str]:
    """Describe an authentication method and its settings."""
    heading = f"### `methods` of `auth`: `{plugin.name}`"
    yield from _plugin(heading, plugin.name, plugin, plugin.Config, ())


def _plugin(
    heading: str, key: str, plugin: type[Any], config: type[BaseModel], notes: Iterable[str]
) -> Iterator[str]:
    """Describe a plugin: the first words of its class, what its settings say, the settings."""
    schema, definitions = describe(config)
    summary = _paragraphs(plugin.__doc__)[0]
    details = _paragraphs(schema.get("description"))[1:]  # the first only says whose they are
    yield "\n\n".join([heading, summary, *details, *notes]) + "\n"
    yield _keys_table(schema, definitions)
    for name, below in schema.get("properties", {}).items():
        yield from _nested(f"{key}.{name}", below, definitions, level=4)


def _paragraphs(text: str | None) -> list[str]:
    """Split a docstring; what it marks as code the reST way is marked the Markdown way."""
    return inspect.cleandoc(text or "").replace("``", "`").split("\n\n")


def _contract(plugin: type[Filter[Any]]) -> Iterator[str]:
    """Say what a filter needs, gives and adds to routes."""
    for verb, keys in (("Needs", plugin.requires), ("Provides", plugin.provides)):
        if keys:
            yield f"{verb} {', '.join(f'`{name}`' for name in sorted(map(name_of, keys)))}."
    if plugin.route_keys:
        yield f"Shorthands in routes: {', '.join(f'`{key}`' for key in sorted(plugin.route_keys))}."


def _nested(
    key: str, schema: Schema, definitions: Mapping[str, Schema], level: int
) -> Iterator[str]:
    """Describe the tables that a key may hold, and those below them."""
    for title, name in _tables(key, schema):
        table = definitions[name]
        brackets = "[[{}]]" if title.endswith("[]") else "[{}]"
        heading = f"{'#' * min(level, 6)} `{brackets.format(title.replace('[]', ''))}`"
        yield f"{heading}\n\n{table.get('description', '')}\n"
        yield _keys_table(table, definitions)
        for below, one in table.get("properties", {}).items():
            yield from _nested(f"{title.removesuffix('[]')}.{below}", one, definitions, level + 1)


def _tables(key: str, schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the title and the definition's name of each table that a value may be or contain."""
    if "$ref" in schema:
        yield key, _name(schema)
    if "items" in schema:
        yield from _tables(f"{key}[]", schema["items"])
    for one in _named(schema):
        yield from _tables(f"{key}.NAME", one)
    for one in schema.get("anyOf", ()):
        yield from _tables(key, one)


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).removeprefix("#/$defs/")


def _named(schema: Schema) -> list[Schema]:
    """Return the schema of the values of a table whose keys are chosen by the user."""
    anything = schema.get("additionalProperties")
    return [
        *([anything] if isinstance(anything, dict) else ()),
        *schema.get("patternProperties", {}).values(),
    ]


def _keys_table(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    if not schema.get("properties"):
        return "It has no settings.\n"
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, one in schema["properties"].items():
        required = key in schema.get("required", ())
        default = "required" if required else _default(one)
        # Pydantic leaves out a description that only repeats that of the table.
        same = definitions[_name(one)].get("description", "") if "$ref" in one else ""
        text = " ".join(one.get("description", same).split())
        rows.append(f"| `{key}` | {_cell(_type(one))} | {_cell(default)} | {_cell(text)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(schema: Schema) -> str:
    """Show a default as TOML; that of a table is shown where its own keys are."""
    if "default" not in schema or "$ref" in schema or schema["default"] == {}:
        return ""
    return f"`{json.dumps(schema['default'], ensure_ascii=False)}`"


def _type(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    match schema.get("type"):
        case "array":
            return f"array of {_plural(_type(schema.get('items', {})))}"
        case "object" if named := _named(schema):
            return f"table of {_plural(_type(named[0]))}"
        case "object" | None:
            return "table" if schema else "any"
        case "boolean":
            return "boolean"
        case "string":
            return _FORMATS.get(schema.get("format", ""), "string")
        case kind:
            unit = " of seconds" if schema.get("format") == "seconds" else ""
            return f"{kind}{unit}{_bounds(schema)}"


def _plural(kind: str) -> str:
    return f"{kind}s" if kind.isalpha() or kind in _FORMATS.values() else f"({kind})"


def _bounds(schema: Schema) -> str:
    lower, upper = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if lower is not None and upper is not None:
        return f", {lower} to {upper}"
    words = (("at least", lower), ("above", above), ("at most", upper), ("below", below))
    return "".join(f", {word} {bound}" for word, bound in words if bound is not None)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(built_in_plugins()), "utf-8")
