"""A configuration looked at without being run."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gatewayd.gateway import KeptState
from gatewayd.generation import Generation
from gatewayd.timers import Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.config.load import LoadedConfig


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
