"""What becomes of a connection whose client has switched to another protocol."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gatewayd import Exchange, Headers, Response
from tests.support.raw import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.server.conftest import Served

    Serve = Callable[..., Awaitable[Served]]

UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


class Echo:
    """A tunnel that sends back what comes, until the client ends its side."""

    def __init__(self) -> None:
        self.rest: bytes | None = None
        self.closed = 0

    async def run(self, transport: asyncio.Transport, rest: bytes) -> None:
        self.rest = rest
        ended = asyncio.get_running_loop().create_future()
        transport.set_protocol(_Echo(transport, ended))
        transport.resume_reading()
        await ended
        transport.close()

    def close(self) -> None:
        self.closed += 1


class _Echo(asyncio.Protocol):
    def __init__(self, transport: asyncio.Transport, ended: asyncio.Future[None]) -> None:
        self._transport = transport
        self._ended = ended

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def eof_received(self) -> bool:
        self._ended.set_result(None)
        return True


class Upgrading:
    """A filter's function that switches, and knows when its exchange has ended."""

    def __init__(self) -> None:
        self.tunnel = Echo()
        self.ended: list[BaseException | None] = []
        self.before: Callable[[], None] = lambda: None

    async def __call__(self, exchange: Exchange) -> Response:
        assert exchange.request.upgrade == "websocket"
        exchange.on_finish(lambda _, error: self.ended.append(error))
        self.before()
        return Response(101, Headers.of([("Sec-WebSocket-Accept", "x")]), tunnel=self.tunnel)


async def test_the_tunnel_gets_the_connection_and_what_came_behind_the_request(
    serve: Serve,
) -> None:
    upgrading = Upgrading()
    served = await serve(upgrading)
    wire = await served.connect()
    answer = await wire.ask(UPGRADE + b"early")
    assert answer.status == 101
    assert answer.header("Connection") == "Upgrade"
    assert answer.header("Upgrade") == "websocket"
    assert answer.header("Sec-WebSocket-Accept") == "x"
    assert answer.header("Content-Length") is None
    assert upgrading.tunnel.rest == b"early"
    wire.send(b"hello")
    assert await wire.read(5) == b"hello"


async def test_the_exchange_lasts_as_long_as_the_tunnel(serve: Serve) -> None:
    upgrading = Upgrading()
    served = await serve(upgrading)
    wire = await served.connect()
    assert (await wire.ask(UPGRADE)).status == 101
    served.clock.advance(100_000)  # none of the server's limits concern a tunnel
    wire.send(b"hello")
    assert await wire.read(5) == b"hello"
    assert upgrading.ended == []
    assert served.gateway.generations.current.in_flight == 1
    wire.end()
    assert await wire.read_to_end() == b""
    await served.until_closed()
    assert upgrading.ended == [None]


async def test_a_tunnel_that_ends_after_its_connection_fails_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """As the tunnels of the upstream side do, which the loss of either connection ends."""
    upgrading = Upgrading()

    async def lose(transport: asyncio.Transport, rest: bytes) -> None:
        transport.set_protocol(asyncio.Protocol())
        transport.close()
        await until(lambda: transport.get_extra_info("socket").fileno() == -1)

    upgrading.tunnel.run = lose  # type: ignore[method-assign]
    served = await serve(upgrading)
    wire = await served.connect()
    assert (await wire.ask(UPGRADE)).status == 101
    await until(lambda: upgrading.ended)
    assert upgrading.ended == [None]
    assert caplog.text == ""


async def test_a_client_that_has_gone_takes_the_tunnel_with_it(serve: Serve) -> None:
    upgrading = Upgrading()
    served = await serve(upgrading)
    wire = await served.connect()
    connection = await served.connection()

    def lose() -> None:
        assert connection.transport is not None
        connection.transport.abort()

    upgrading.before = lose
    wire.send(UPGRADE)
    await served.until_closed()
    assert upgrading.tunnel.closed == 1
    assert upgrading.tunnel.rest is None
    assert len(upgrading.ended) == 1


async def test_a_tunnel_is_broken_off_at_the_end_of_a_drain(serve: Serve) -> None:
    upgrading = Upgrading()
    served = await serve(upgrading)
    wire = await served.connect()
    assert (await wire.ask(UPGRADE)).status == 101
    drain = asyncio.create_task(served.gateway.server.drain(0.01))
    with pytest.raises(ConnectionResetError):
        await wire.read_to_end()
    await drain
    await served.until_closed()
    assert isinstance(upgrading.ended[0], asyncio.CancelledError)


async def test_what_fails_in_a_tunnel_ends_the_connection(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    upgrading = Upgrading()

    async def fail(transport: asyncio.Transport, rest: bytes) -> None:
        raise ValueError("broken tunnel")

    upgrading.tunnel.run = fail  # type: ignore[method-assign]
    served = await serve(upgrading)
    wire = await served.connect()
    assert (await wire.ask(UPGRADE)).status == 101
    await wire.read_to_end()
    await until(lambda: upgrading.ended)
    assert isinstance(upgrading.ended[0], ValueError)
    assert "broken tunnel" in caplog.text
