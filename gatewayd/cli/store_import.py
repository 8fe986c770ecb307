"""``gatewayd store import``: write the routes and services of a file into the store."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json
from gatewayd.config.environment import read_environment
from gatewayd.config.include import FileLayer
from gatewayd.config.load import load
from gatewayd.config.schema import InstanceConfig
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd.store.settings import StoreConfig


def store_import(
    *, config: ConfigOption = DEFAULT_CONFIG, env: EnvOption = None, json: JsonOption = False
) -> None:
    """Replace all that is in the store with what a file says."""
    # Checked as a whole, without what is in the store, which goes.
    loaded = load(config, env=env, overrides={"config.sources": ["file"]})
    layer = FileLayer(config, read_environment(env, os.environ).variables)
    for key in ("routes", "services"):
        if layer.origins.near_secret((key,)):
            raise GatewayError(f"{key} refer to secrets, which do not belong into the database")
    routes = layer.values.get("routes", [])
    services = {
        name: _plain(service) if loaded.config.services[name].discovery == "static" else service
        for name, service in layer.values.get("services", {}).items()
    }
    asyncio.run(_write(loaded.config.store, routes, services))
    counts = {"routes": len(routes), "services": len(services)}
    if json:
        print_json(counts)
    else:
        print(", ".join(f"{count} {name}" for name, count in counts.items()), "are in the store")


def _plain(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a service whose instances are of the types that their columns have."""
    instances = [InstanceConfig.model_validate(one) for one in service["instances"]]
    return {**service, "instances": [one.model_dump() for one in instances]}


async def _write(
    config: StoreConfig, routes: Sequence[Mapping[str, Any]], services: Mapping[str, Any]
) -> None:
    from gatewayd.store.store import opened_store

    async with opened_store(config) as store:
        await store.routes.replace_all(routes, services)
