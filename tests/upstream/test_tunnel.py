from __future__ import annotations

import asyncio
import hashlib
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from gatewayd import BadResponse, Response
from gatewayd.config.schema import UpstreamTlsConfig
from gatewayd.services.tls import ClientTls
from tests.support.certificates import Authority
from tests.support.raw import Wire, raw_origin, until
from tests.support.tls_client import TlsClient
from tests.support.upstream import make_attempt, make_pool, stream

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gatewayd.testing import FakeClock
    from gatewayd.timers import Sweeper
    from gatewayd.upstream.pool import Pool
    from gatewayd.upstream.tunnel import Tunnel
    from tests.support.raw import RawOrigin

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


class Opened:
    """A tunnel between two ends that the test plays.

    Attributes:
        client: The client's end.
        origin: The instance's end.
        transport: The gateway's end of the client's connection.
        tunnel: What is in between.
        pool: Where the upstream connection came from.
        running: Ends when the tunnel has ended.

    """

    client: Wire
    origin: Wire
    transport: asyncio.Transport
    tunnel: Tunnel
    pool: Pool
    running: asyncio.Task[None]


class Opener:
    """Opens tunnels."""

    def __init__(self, sweeper: Sweeper, origin: RawOrigin, port: int) -> None:
        self._sweeper = sweeper
        self._origin = origin
        self.port = port
        self.transports: asyncio.Queue[asyncio.Transport] = asyncio.Queue()
        self.opened: list[Opened] = []
        self.wires: list[Wire] = []

    async def connect(self, **settings: int) -> tuple[Wire, asyncio.Transport]:
        """Connect a client; return both ends of its connection."""
        wire = await Wire.connect(self.port, **settings)
        self.wires.append(wire)
        return wire, await self.transports.get()

    async def switch(self, answer: bytes = SWITCH, **settings: Any) -> tuple[Opened, Response]:
        """Send an upgrade, and let the origin agree."""
        one = Opened()
        one.pool = make_pool(self._sweeper, self._origin.url)
        response = asyncio.create_task(one.pool.send(make_attempt(upgrade="websocket", **settings)))
        one.origin = await self._origin.accept()
        await one.origin.read_head()
        one.origin.send(answer)
        return one, await response

    async def __call__(
        self, *, rest: bytes = b"", receive_buffer: int = 0, answer: bytes = SWITCH, **times: float
    ) -> Opened:
        """Open a tunnel and run it."""
        one, response = await self.switch(answer, **times)
        one.tunnel = response.tunnel
        one.client, one.transport = await self.connect(receive_buffer=receive_buffer)
        one.running = asyncio.create_task(one.tunnel.run(one.transport, rest))
        self.opened.append(one)
        await until(lambda: one.tunnel._client)
        return one


@asynccontextmanager
async def opening(
    sweeper: Sweeper, origin: RawOrigin, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Opener]:
    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            opener.transports.put_nowait(cast("asyncio.Transport", transport))

    server = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0, ssl=tls)
    opener = Opener(sweeper, origin, server.sockets[0].getsockname()[1])
    try:
        yield opener
    finally:
        server.close()
    for wire in opener.wires:
        wire.close()
    for one in opener.opened:
        one.tunnel.close()
        await one.running
        assert one.pool._open == 0
        await until(one.transport.is_closing)


@pytest.fixture
async def tunnel(sweeper: Sweeper, origin: RawOrigin) -> AsyncIterator[Opener]:
    async with opening(sweeper, origin) as opener:
        yield opener


async def test_bytes_go_both_ways(tunnel: Opener) -> None:
    one = await tunnel()
    for message in (b"hello", b"\x00\xff" * 1000):
        one.client.send(message)
        assert await one.origin.read(len(message)) == message
        one.origin.send(message)
        assert await one.client.read(len(message)) == message


async def test_what_was_sent_right_behind_the_switch_goes_on(tunnel: Opener) -> None:
    one = await tunnel(rest=b"early client", answer=SWITCH + b"early origin")
    assert await one.origin.read(12) == b"early client"
    assert await one.client.read(12) == b"early origin"


async def test_nothing_is_read_before_there_is_a_client(tunnel: Opener) -> None:
    one, response = await tunnel.switch()
    one.origin.send(b"hello")
    one.origin.end()
    one.client, transport = await tunnel.connect()
    running = asyncio.create_task(response.tunnel.run(transport, b""))
    assert await one.client.read_to_end() == b"hello"
    one.client.close()
    await running


@pytest.mark.parametrize("first", ["client", "origin"])
async def test_one_side_may_end_before_the_other(tunnel: Opener, first: str) -> None:
    one = await tunnel()
    ending, other = one.client, one.origin
    if first == "origin":
        ending, other = other, ending
    ending.send(b"that was all")
    ending.end()
    assert await other.read_to_end() == b"that was all"
    for _ in range(3):
        other.send(b"more")
        assert await ending.read(4) == b"more"
    assert not one.running.done()
    other.send(b"last")
    other.end()
    assert await ending.read_to_end() == b"last"
    await one.running


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("first", ["client", "origin"])
async def test_a_side_that_is_lost_ends_the_tunnel(tunnel: Opener, first: str, how: str) -> None:
    one = await tunnel()
    lost, other = one.client, one.origin
    if first == "origin":
        lost, other = other, lost
    getattr(lost, how)()
    assert await other.read_to_end() == b""
    other.close()
    await one.running


async def test_a_tunnel_that_carries_nothing_for_too_long_is_closed(
    tunnel: Opener, clock: FakeClock
) -> None:
    one = await tunnel(tunnel_idle=60)
    for wire, other in ((one.client, one.origin), (one.origin, one.client)):
        clock.advance(59)
        wire.send(b"ping")
        assert await other.read(4) == b"ping"
    assert one.tunnel.expires_at == clock() + 60
    clock.advance(60)
    assert await one.client.read_to_end() == b""
    assert await one.origin.read_to_end() == b""
    await one.running


async def test_a_tunnel_that_nobody_runs_is_closed_in_time(
    tunnel: Opener, clock: FakeClock
) -> None:
    one, _ = await tunnel.switch(tunnel_idle=60)
    clock.advance(60)
    assert await one.origin.read_to_end() == b""
    assert one.pool._open == 0


@pytest.mark.parametrize("first", ["client", "origin"])
async def test_a_slow_reader_holds_the_sender_and_loses_nothing(tunnel: Opener, first: str) -> None:
    one = await tunnel(receive_buffer=4096)
    slow, fast = one.client, one.origin
    receiving = one.transport
    if first == "origin":
        slow, fast = fast, slow
        receiving = one.tunnel._upstream.transport
    sent = bytes(range(256)) * 4096 * 16
    sending = asyncio.create_task(fast.send_all(sent + b"!"))
    await until(receiving.get_write_buffer_size)
    most, received = 0, hashlib.sha256()
    while left := len(sent):
        most = max(most, receiving.get_write_buffer_size())
        piece = await slow.read(min(left, 1 << 18))
        received.update(piece)
        assert piece == sent[: len(piece)]
        sent = sent[len(piece) :]
    await sending
    assert await slow.read(1) == b"!"
    assert 0 < most < 1 << 20


async def test_what_is_unsent_at_the_end_still_arrives(tunnel: Opener) -> None:
    one = await tunnel(receive_buffer=4096)
    size = await fill(one)
    one.origin.reset()
    await one.running
    received = await one.client.read_to_end()
    assert 0 < len(received) <= size
    assert received == b"x" * len(received)


async def test_a_client_that_takes_nothing_at_the_end_is_broken_off(
    tunnel: Opener, sweeper: Sweeper, clock: FakeClock
) -> None:
    one = await tunnel(receive_buffer=4096)
    await fill(one)
    one.origin.reset()
    await one.running
    assert one.transport.get_write_buffer_size()
    clock.advance(60)
    await until(lambda: not one.transport.get_write_buffer_size())
    assert len(sweeper) == 0


async def fill(one: Opened) -> int:
    """Send from the origin until the client's buffers are full; return how much was sent."""
    size = 0
    while not one.transport.get_write_buffer_size():
        one.origin.send(b"x" * 65536)
        size += 65536
        await asyncio.sleep(0)
    return size


UNSENT = b"x" * 60_000
"""More than small buffers of the kernel take, and less than what a TLS transport waits with."""


class Unsent:
    """A tunnel that has ended, with bytes for its client that TLS takes for sent.

    Attributes:
        client: The client's end.
        transport: The gateway's end of the client's connection.

    """

    def __init__(self, client: TlsClient, transport: asyncio.Transport) -> None:
        self.client = client
        self.transport = transport

    @property
    def is_open(self) -> bool:
        """Whether the gateway still has the connection."""
        return self.transport.get_extra_info("peername") is not None


@asynccontextmanager
async def unsent(
    sweeper: Sweeper,
    origin: RawOrigin,
    folder: Path,
    how: Callable[[TlsClient], None],
    end: Callable[[Wire], None] = Wire.end,
) -> AsyncIterator[Unsent]:
    """End a tunnel while its client, which takes nothing, ends its own side in some way."""
    authority = Authority(folder)
    async with opening(sweeper, origin, authority.server_context("localhost")) as opener:
        one, response = await opener.switch()
        client = await asyncio.to_thread(TlsClient, authority, opener.port)
        transport = await opener.transports.get()
        # The connection's own buffer, not TLS's: what it takes is seen nowhere.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        try:
            one.origin.send(UNSENT)
            running = asyncio.create_task(response.tunnel.run(transport, b""))
            await asyncio.to_thread(client.read, 1)
            how(client)
            end(one.origin)
            await running
            assert transport.get_write_buffer_size() == 0
            yield Unsent(client, transport)
        finally:
            client.close()
            one.origin.close()
            transport.abort()


HOW = [TlsClient.stay, TlsClient.end]


@pytest.mark.parametrize("how", HOW)
async def test_a_client_that_takes_nothing_over_tls_at_the_end_is_broken_off(
    sweeper: Sweeper,
    origin: RawOrigin,
    clock: FakeClock,
    tmp_path: Path,
    how: Callable[[TlsClient], None],
) -> None:
    async with unsent(sweeper, origin, tmp_path, how) as one:
        assert one.is_open
        clock.advance(60)
        await until(lambda: not one.is_open)
        await until(lambda: len(sweeper) == 0)


async def test_what_is_unsent_over_tls_at_the_end_still_arrives(
    sweeper: Sweeper, origin: RawOrigin, tmp_path: Path
) -> None:
    async with unsent(sweeper, origin, tmp_path, TlsClient.stay) as one:
        assert await asyncio.to_thread(one.client.read_to_end) == UNSENT[1:]
        one.client.close()
        await until(lambda: not one.is_open)


@pytest.mark.parametrize("says", [b"more", b""], ids=["bytes", "farewell"])
async def test_what_a_client_over_tls_says_after_the_end_is_dropped(
    sweeper: Sweeper, origin: RawOrigin, clock: FakeClock, tmp_path: Path, says: bytes
) -> None:
    """It is heard: the transport reads on as long as it has something to send."""
    async with unsent(sweeper, origin, tmp_path, TlsClient.stay, Wire.reset) as one:
        side = cast("asyncio.Protocol", one.transport.get_protocol())
        if says:
            side.data_received(says)
        else:
            assert not side.eof_received()
        clock.advance(60)
        await until(lambda: not one.is_open)  # nor has it more time for that


async def test_the_farewell_of_a_client_over_tls_ends_the_tunnel_and_nothing_is_logged(
    sweeper: Sweeper, origin: RawOrigin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    async with opening(sweeper, origin, authority.server_context("localhost")) as opener:
        one, response = await opener.switch()
        client = await asyncio.to_thread(TlsClient, authority, opener.port)
        transport = await opener.transports.get()
        running = asyncio.create_task(response.tunnel.run(transport, b""))
        try:
            await asyncio.to_thread(client.farewell)
            assert await one.origin.read_to_end() == b""
            await running
        finally:
            client.close()
            one.origin.close()
    assert caplog.records == []


async def test_a_tunnel_over_tls_that_nobody_runs_is_closed_and_nothing_is_logged(
    sweeper: Sweeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_origin(Authority(tmp_path).server_context("origin.test")) as origin:
        tls = ClientTls("origin", UpstreamTlsConfig(verify=False)).context
        pool = make_pool(sweeper, origin.url.replace("http:", "https:"), tls)
        response = asyncio.create_task(pool.send(make_attempt(upgrade="websocket")))
        wire = await origin.accept()
        await wire.read_head()
        wire.send(SWITCH)
        await (await response).discard()
        assert await wire.read_to_end() == b""
        await until(lambda: len(sweeper) == 0)
    assert caplog.records == []


async def test_a_cancelled_tunnel_closes_both_sides(tunnel: Opener) -> None:
    one = await tunnel()
    tunnel.opened.clear()
    one.running.cancel()
    assert await one.client.read_to_end() == b""
    assert await one.origin.read_to_end() == b""
    assert one.running.cancelled()
    assert one.pool._open == 0


async def test_a_tunnel_that_ended_before_it_ran_closes_the_client(tunnel: Opener) -> None:
    one, response = await tunnel.switch()
    await response.discard()
    client, transport = await tunnel.connect()
    await response.tunnel.run(transport, b"")
    assert await client.read_to_end() == b""
    assert await one.origin.read_to_end() == b""


async def test_the_end_is_told_once(tunnel: Opener) -> None:
    ended: list[None] = []
    one = await tunnel()
    on_end = one.tunnel._on_end
    assert on_end is not None

    def count() -> None:
        ended.append(None)
        on_end()

    one.tunnel._on_end = count
    one.tunnel.close()
    one.tunnel.close()
    await one.running
    assert await one.client.read_to_end() == b""
    assert len(ended) == 1


async def test_what_filters_do_to_a_switch_is_not_remembered_for_the_next_one(
    tunnel: Opener,
) -> None:
    one, first = await tunnel.switch()
    first.headers.add("X-Request-Id", "mine")
    response = asyncio.create_task(one.pool.send(make_attempt(upgrade="websocket")))
    wire = await tunnel._origin.accept()
    await wire.read_head()
    wire.send(SWITCH)
    second = await response
    assert list(second.headers) == []
    await first.discard()
    await second.discard()


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (None, SWITCH),
        ("h2c", SWITCH),
        ("websocket", SWITCH.replace(b"Connection: Upgrade\r\n", b"")),
        ("websocket", SWITCH.replace(b"Upgrade: WebSocket\r\n", b"")),
        ("websocket", SWITCH.replace(b"WebSocket", b"websocket, h2c")),
    ],
)
async def test_a_switch_to_what_was_not_asked_for(
    sweeper: Sweeper, origin: RawOrigin, asked: str | None, answer: bytes
) -> None:
    pool = make_pool(sweeper, origin.url)
    response = asyncio.create_task(pool.send(make_attempt(upgrade=asked)))
    wire = await origin.accept()
    await wire.read_head()
    wire.send(answer)
    with pytest.raises(BadResponse):
        await response
    assert pool._open == 0


async def test_a_switch_in_the_middle_of_the_request_is_too_early(
    sweeper: Sweeper, origin: RawOrigin
) -> None:
    pool = make_pool(sweeper, origin.url)
    body = stream(b"hello", ended=False)
    attempt = make_attempt("POST", body=body, upgrade="websocket")
    response = asyncio.create_task(pool.send(attempt))
    wire = await origin.accept()
    await wire.read_until(b"hello\r\n")
    wire.send(SWITCH)
    with pytest.raises(BadResponse):
        await response
    assert pool._open == 0


async def test_an_upgrade_that_is_declined_is_an_ordinary_answer(
    sweeper: Sweeper, origin: RawOrigin
) -> None:
    pool = make_pool(sweeper, origin.url)
    response = asyncio.create_task(pool.send(make_attempt(upgrade="websocket")))
    wire = await origin.accept()
    await wire.read_head()
    wire.send(
        b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: 2\r\n\r\nno"
    )
    answer = await response
    assert (answer.status, answer.body, answer.tunnel) == (426, b"no", None)
    assert len(pool._idle) == 1
    pool.close()
