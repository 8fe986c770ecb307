"""``gatewayd routes list``: the routes in the order in which they are tried."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gatewayd.cli.inspection import compiled
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import place, print_json, print_table
from gatewayd.config.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.config.load import LoadedConfig
    from gatewayd.config.places import KeyPath
    from gatewayd.routing.route import Route

_COLUMNS = ("name", "priority", "hosts", "path", "match", "methods", "conditions", "to", "place")


def routes_list(
    *, config: ConfigOption = DEFAULT_CONFIG, env: EnvOption = None, json: JsonOption = False
) -> None:
    """Print the routes."""
    routes = asyncio.run(_describe_all(config, env))
    if json:
        print_json(routes)
    else:
        print_table(_COLUMNS, [[_cell(route[column]) for column in _COLUMNS] for route in routes])


async def _describe_all(config: Path, env: str | None) -> list[dict[str, Any]]:
    loaded = load(config, env=env)
    async with compiled(loaded) as generation:
        return [_describe(route, loaded) for route in generation.routes.routes()]


def _describe(route: Route, loaded: LoadedConfig) -> dict[str, Any]:
    return {
        "name": route.name,
        "priority": route.priority,
        "hosts": loaded.redact(list(route.hosts), (*path_of(route), "hosts")),
        "path": loaded.redact(route.config.path, (*path_of(route), "path")),
        "match": route.config.match,
        "methods": sorted(route.methods or ()),
        "conditions": list(conditions_of(route, loaded).values()),
        "to": target_of(route, loaded),
        "timeout": route.timeout,
        "place": place(loaded, path_of(route)),
    }


def path_of(route: Route) -> KeyPath:
    """Return where a route stands."""
    return ("routes", route.index)


def conditions_of(route: Route, loaded: LoadedConfig) -> dict[str, str]:
    """Return what is asked of header fields and the query, by the form that may hold secrets."""
    tables = {"header": "headers", "query": "query"}
    conditions = {}
    for predicate in route.predicates:
        path = (*path_of(route), tables[predicate.where], predicate.name)
        shown = loaded.redact(predicate.test.text, path)
        conditions[str(predicate)] = f"{predicate.where} {predicate.name} = {shown!r}"
    return conditions


def target_of(route: Route, loaded: LoadedConfig) -> list[str]:
    """Return where a route leads: its services with their weights if several, or its redirect."""
    redirect = route.config.redirect
    if redirect is not None:
        to = loaded.redact(redirect.to, (*path_of(route), "redirect", "to"))
        return [f"redirect {redirect.status} {to}"]
    if len(route.services) == 1:
        return [route.services[0].name]
    return [f"{one.name} ({one.weight})" for one in route.services]


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
