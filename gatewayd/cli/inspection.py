"""A configuration looked at without being run."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gatewayd.gateway import KeptState
from gatewayd.generation import Generation
from gatewayd.timers import Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.config.load import LoadedConfig
    from gatewayd.filter import Filter
    from gatewayd.routing.route import Route


@asynccontextmanager
async def compiled(loaded: LoadedConfig) -> AsyncIterator[Generation]:
    """Build a generation with its filters and chains; nothing is started, nothing connected.

    Raises:
        ConfigError: the configuration cannot be used.

    """
    sweeper = Sweeper()
    generation = Generation(loaded, loaded.plugins, KeptState(), sweeper)
    try:
        generation.compile()
        yield generation
    finally:
        await generation.close()
        sweeper.close()


def running_filters(generation: Generation, route: Route, service: str) -> dict[str, Filter[Any]]:
    """Return the filters that a request for a route and service runs through, by name."""
    pipeline = generation.pipeline
    steps = (*pipeline.entry.steps, *pipeline.chains[route.name, service].steps)
    return {step.filter.name: step.filter for step in steps}
