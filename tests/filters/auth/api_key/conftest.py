from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from gatewayd.testing import FakeClock, make_gateway
from gatewayd_filters.auth.api_key import ApiKeyConfig, ApiKeyMethod
from tests.support.authentication import PEPPER, FakeRedis, FakeStore, as_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gatewayd import Redis
    from gatewayd_filters.auth.api_key.directory import KeyDirectory

EPOCH = 1_800_000_000.0


class World:
    """A method with all that it depends on.

    Attributes:
        store, redis, clock: What a test plays with.
        now: Seconds of the Unix clock; as the file system's, where files tell times.
        method: The running method.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FakeStore()
        self.redis: FakeRedis | None = None
        self.clock = FakeClock()
        self.method: ApiKeyMethod
        self.now = EPOCH

    @property
    def directory(self) -> KeyDirectory:
        return self.method._directory

    async def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and the directory do what is due then."""
        self.clock.advance(seconds)
        await self.directory.turn()

    @asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[ApiKeyMethod]:
        """Run the method."""
        files = {
            "pepper_file": str(self.folder / "pepper"),
            "snapshot_file": str(self.folder / "snapshot"),
        }
        config = ApiKeyConfig.model_validate({"pepper": PEPPER, **files, **settings})
        gateway = make_gateway(
            clock=self.clock, store=as_store(self.store), redis=cast("Redis | None", self.redis)
        )
        self.gateway = gateway
        self.method = ApiKeyMethod(config, gateway)
        self.method._now = lambda: self.now
        try:
            await self.method.start()
            yield self.method
        finally:
            assert await gateway.close() == []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
