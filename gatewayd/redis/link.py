"""The connection to Redis as filters see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd.redis.settings import RedisConfig


class Redis:
    """The connection to Redis, opened."""

    def __init__(self, config: RedisConfig) -> None:
        self.config = config

    async def start(self) -> None:
        """Open it; safe to call again. An unreachable server is no error here."""

    async def close(self) -> None:
        """Close all connections."""

    async def version(self, topic: str) -> int:
        """Return how often :meth:`bump` was called for a topic; raises where Redis is away."""
        raise NotImplementedError

    async def bump(self, topic: str) -> int:
        """Tell all nodes that what a topic stands for has changed; returns the new version."""
        raise NotImplementedError
