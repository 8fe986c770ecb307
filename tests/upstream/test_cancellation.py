"""A client can leave at any moment: whatever a request was doing then, the pool stays in order."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import UpstreamError
from gatewayd.testing import read_body
from gatewayd.upstream.connection import UpstreamConnection
from tests.support.raw import until
from tests.support.upstream import make_attempt, make_pool, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gatewayd.timers import Sweeper
    from gatewayd.upstream.pool import Pool
    from tests.support.raw import RawOrigin

ANSWERS = {
    b"/": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    b"/long": b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000,
    b"/upgrade": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    b"/die": b"",
}


class Answering(asyncio.Protocol):
    """Answers each head at once, as the target says."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data and not self._transport.is_closing():
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            if not head.startswith(b"GET ") and b"0\r\n\r\n" not in self._data:
                self._data = head + b"\r\n\r\n" + self._data
                return  # the request's body first
            self._data = self._data.partition(b"0\r\n\r\n")[2]
            target = head.split(b" ")[1]
            self._transport.write(ANSWERS[target])
            if target in (b"/close", b"/die"):
                self._transport.close()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def read(pool: Pool, *arguments: Any, **settings: Any) -> None:
    """Run an exchange as the server does: whatever comes back is read, or discarded."""
    response = await pool.send(make_attempt(*arguments, **settings))
    try:
        await read_body(response)
    finally:
        await response.discard()


async def fresh(pool: Pool) -> None:
    """Nobody was there before."""


async def one_idle(pool: Pool) -> None:
    """An idle connection is there."""
    await read(pool)


async def all_busy(pool: Pool) -> None:
    """All connections are in use and come free in a moment."""
    for _ in range(2):
        task = asyncio.create_task(read(pool))
        pool.background.add(task)  # type: ignore[attr-defined]
    await asyncio.sleep(0)


async def one_lost(pool: Pool) -> None:
    """An idle connection is there, which has just been lost."""
    await read(pool)
    pool._idle[0]._transport.close()  # type: ignore[union-attr]


async def get(pool: Pool) -> None:
    await read(pool)


async def get_and_close(pool: Pool) -> None:
    await read(pool, target="/close")


async def get_long(pool: Pool) -> None:
    await read(pool, target="/long")


async def get_nothing(pool: Pool) -> None:
    with suppress(UpstreamError):
        await read(pool, target="/die")


async def upload(pool: Pool) -> None:
    await read(pool, "POST", body=stream(b"x" * 10000))


async def upload_after_a_while(pool: Pool) -> None:
    with suppress(UpstreamError):
        await read(pool, "POST", body=stream(b"x" * 10000), expects_continue=True, expect=0.001)


async def upgrade(pool: Pool) -> None:
    await read(pool, target="/upgrade", upgrade="websocket")


@asynccontextmanager
async def checked(sweeper: Sweeper, url: str) -> AsyncIterator[Pool]:
    """Make a pool of two connections, and check at the end that all of it can be used."""
    pool = make_pool(sweeper, url, max_connections=2)
    pool.background = set()  # type: ignore[attr-defined]
    yield pool
    await asyncio.gather(*pool.background)  # type: ignore[attr-defined]
    await until(lambda: pool._open == len(pool._idle))
    assert not pool._waiters
    assert len(sweeper) == len(pool._idle)
    await asyncio.gather(*(read(pool) for _ in range(4)))
    assert pool._open == len(pool._idle) <= 2
    pool.close()
    assert pool._open == 0
    assert len(sweeper) == 0


@pytest.mark.parametrize("before", [fresh, one_idle, all_busy, one_lost])
@pytest.mark.parametrize(
    "use",
    [get, get_and_close, get_long, get_nothing, upload, upload_after_a_while, upgrade],
)
async def test_a_client_leaves_at_any_moment(
    sweeper: Sweeper,
    url: str,
    before: Callable[[Pool], Awaitable[None]],
    use: Callable[[Pool], Awaitable[None]],
) -> None:
    for turns in range(16):
        async with checked(sweeper, url) as pool:
            await before(pool)
            task = asyncio.ensure_future(use(pool))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])


async def test_a_client_leaves_when_its_connection_has_just_been_made(
    sweeper: Sweeper, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = UpstreamConnection.connection_made
    async with checked(sweeper, url) as pool:
        task = asyncio.create_task(read(pool))

        def make_and_leave(self: UpstreamConnection, transport: asyncio.BaseTransport) -> None:
            made(self, transport)
            task.cancel()

        monkeypatch.setattr(UpstreamConnection, "connection_made", make_and_leave)
        await asyncio.wait([task])
        assert task.cancelled()
        monkeypatch.undo()


@pytest.mark.parametrize("order", ["leaves, then switches", "switches, then leaves"])
async def test_a_client_leaves_when_its_protocol_has_just_been_switched(
    sweeper: Sweeper, origin: RawOrigin, order: str
) -> None:
    pool = make_pool(sweeper, origin.url)
    task = asyncio.create_task(pool.send(make_attempt(upgrade="websocket")))
    wire = await origin.accept()
    await wire.read_head()
    (connection,) = sweeper._watched
    assert isinstance(connection, UpstreamConnection)
    if order == "leaves, then switches":
        task.cancel()
    connection.data_received(ANSWERS[b"/upgrade"])
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await wire.read_to_end() == b""
    assert pool._open == 0
    assert len(sweeper) == 0
