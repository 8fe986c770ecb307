"""``gatewayd routes list``: the routes in the order in which they are tried."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gatewayd.cli.inspection import compiled
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json, print_table
from gatewayd.config.load import load
from gatewayd.explain.routes import conditions_of, path_of, place, target_of

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
        "hosts": loaded.redact(list(route.hosts), (*path_of(route), "hosts")),
        "path": loaded.redact(route.config.path, (*path_of(route), "path")),
        "match": route.config.match,
        "methods": sorted(route.methods or ()),
        "conditions": list(conditions_of(route, loaded).values()),
        "to": target_of(route, loaded),
        "timeout": route.timeout,
        "place": place(loaded, path_of(route)),
    }


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
