from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gatewayd.testing import FakeClock
from gatewayd.timers import Sweeper
from tests.support.driven import Driven
from tests.support.raw import RawOrigin, bounded, raw_origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


_bounded = pytest.fixture(autouse=True)(bounded)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def sweeper(clock: FakeClock) -> AsyncIterator[Sweeper]:
    sweeper = Sweeper(interval=0.001, clock=clock)
    yield sweeper
    sweeper.close()


@pytest.fixture
async def driven(sweeper: Sweeper) -> Driven:
    return Driven(sweeper)


@pytest.fixture
async def origin() -> AsyncIterator[RawOrigin]:
    async with raw_origin() as origin:
        yield origin


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port of 127.0.0.1 at which connections are neither accepted nor refused."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        yield port
