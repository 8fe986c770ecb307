from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.testing import FakeClock
from tests.support.in_process import InProcessGateway
from tests.support.plugins import answering, plugins_with
from tests.support.raw import Wire, bounded, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gatewayd import Exchange, Response
    from gatewayd.server.connection import ClientConnection

_bounded = pytest.fixture(autouse=True)(bounded)


class Served:
    """A gateway whose only filter is a function of the test, and the clients that it talks to.

    Attributes:
        gateway: The gateway.
        clock: Its clock, which stands still until the test moves it.

    """

    def __init__(self, gateway: InProcessGateway, clock: FakeClock) -> None:
        self.gateway = gateway
        self.clock = clock
        self.wires: list[Wire] = []

    async def connect(self, **settings: Any) -> Wire:
        """Connect a client; it is closed at the end of the test."""
        wire = await Wire.connect(self.gateway.port, **settings)
        self.wires.append(wire)
        return wire

    async def connection(self) -> ClientConnection:
        """Return the gateway's end of the only connection."""
        registry = self.gateway.server.registry
        await until(lambda: registry.connections)
        (connection,) = registry.connections
        return connection  # type: ignore[return-value]  # the registry knows their base only

    async def wait(self, seconds: float) -> None:
        """Let time pass, and let the sweeper see it."""
        self.clock.advance(seconds)
        probe = _Probe(self.clock())
        self.gateway.sweeper.watch(probe)
        await until(lambda: probe.expired)
        self.gateway.sweeper.forget(probe)

    async def wait_until_closed(self, seconds: float) -> None:
        """Let this time pass again and again: kernels take something first, and then more."""
        while self.gateway.server.open_connections:
            await self.wait(seconds)
        await self.until_closed()

    async def until_closed(self) -> None:
        """Wait until no connection is left, nor anything that belonged to one."""
        await until(lambda: self.gateway.server.open_connections == 0)
        await until(lambda: len(self.gateway.sweeper) == 0)
        await until(lambda: self.gateway.server.in_flight == 0)
        assert self.gateway.generations.current.in_flight == 0


class _Probe:
    """Tells that a whole sweep has taken place."""

    def __init__(self, expires_at: float) -> None:
        self.expires_at = expires_at
        self.expired = False

    def expire(self, now: float) -> None:
        self.expires_at = float("inf")
        self.expired = True


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """Serves with a function that answers, and settings of ``[server]``."""
    async with AsyncExitStack() as stack:

        async def start(
            answer: Callable[[Exchange], Awaitable[Response]], server: str = ""
        ) -> Served:
            gateway = InProcessGateway(tmp_path, plugins_with(answering(answer)))
            clock = FakeClock()
            gateway.sweeper.clock = clock
            gateway.sweeper._interval = 0.001
            stack.push_async_callback(gateway.close)
            await gateway.adopt(f'pipeline.filters = ["answer"]\n[server]\n{server}\n')
            await gateway.listen()
            served = Served(gateway, clock)
            stack.push_async_callback(closed, served)
            return served

        yield start


async def closed(served: Served) -> None:
    """Let the clients leave, and check that nothing is left of them."""
    for wire in served.wires:
        wire.close()
    await served.until_closed()
