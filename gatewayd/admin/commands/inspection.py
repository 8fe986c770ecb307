"""Commands that look at a worker and change nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd.admin.commands import Commands


async def alive(_: Commands, __: Mapping[str, Any]) -> None:
    """Answer; whether a worker does is what the supervisor wants to know."""


async def status(commands: Commands, _: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what runs, and how much of it."""
    generations = commands.generations
    current = generations.current
    return {
        "uptime": round(time.monotonic() - commands.started_at, 3),
        "generation": current.number,
        "digest": current.loaded.digest,
        "in_flight": commands.server.in_flight,
        "connections": commands.server.open_connections,
        "retiring": generations.retiring,
        "draining": current.gateway.readiness.draining,
    }


async def ready(commands: Commands, _: Mapping[str, Any]) -> dict[str, Any]:
    """Tell whether the worker should get traffic, with the state of what it depends on."""
    return await commands.generations.current.gateway.readiness.report()


async def routes(commands: Commands, _: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tell the routes, with the place in the configuration that each comes from."""
    loaded = commands.generations.current.loaded
    told = []
    for index, route in enumerate(loaded.config.routes):
        file, line = loaded.where(("routes", index))
        told.append(
            {
                "name": route.name,
                "path": loaded.redact(route.path, ("routes", index, "path")),
                "methods": sorted(route.methods or ()),
                "hosts": loaded.redact(list(route.hosts), ("routes", index, "hosts")),
                "services": [service.name for service in route.services],
                "place": f"{file}:{line}" if line else file,
            }
        )
    return told


async def services(commands: Commands, _: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tell the services with their instances, and what is known of the health of each."""
    generation = commands.generations.current
    now = generation.gateway.clock()
    return [
        {
            "name": service.name,
            "discovery": service.config.discovery,
            "instances": [
                {
                    "url": one.url,
                    "weight": one.weight,
                    "zone": one.zone,
                    "available": one.available,
                    "healthy": one.healthy,
                    "checked": one.checked,
                    "ejected_for": round(max(0.0, one.ejected_until - now), 3),
                    "active": one.active,
                }
                for one in service.instances.values()
            ],
        }
        for service in generation.services.values()
    ]
