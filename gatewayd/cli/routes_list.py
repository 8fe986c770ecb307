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
        "hosts": list(route.hosts),
        "path": route.config.path,
        "match": route.config.match,
        "methods": sorted(route.methods or ()),
        "conditions": [str(predicate) for predicate in route.predicates],
        "to": target_of(route),
        "timeout": route.timeout,
        "place": place(loaded, ("routes", route.index)),
    }


def target_of(route: Route) -> list[str]:
    """Return where a route leads: its services with their weights if several, or its redirect."""
    if route.config.redirect is not None:
        return [f"redirect {route.config.redirect.status} {route.config.redirect.to}"]
    if len(route.services) == 1:
        return [route.services[0].name]
    return [f"{one.name} ({one.weight})" for one in route.services]


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
