"""How long a client may take for what: the clock is the test's, so that nothing is ever close."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gatewayd import Exchange, Response
from gatewayd.body import HIGH_WATER
from gatewayd.testing import read_body
from tests.support.raw import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.server.connection import ClientConnection
    from tests.server.conftest import Served
    from tests.support.raw import Wire

    Serve = Callable[..., Awaitable[Served]]

TIMES = "header_timeout = 10\nkeepalive_timeout = 75\nbody_timeout = 60"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"


async def read(exchange: Exchange) -> Response:
    return Response(200, body=b"%d" % len(await read_body(exchange.request)))


class Client:
    """A client whose bytes arrive in the turn of the loop in which the test sends them."""

    def __init__(self, served: Served, wire: Wire, connection: ClientConnection) -> None:
        self.clock = served.clock
        self.wait = served.wait
        self.wire = wire
        self._connection = connection

    def send(self, data: bytes) -> None:
        self._connection.data_received(data)

    @property
    def open(self) -> bool:
        transport = self._connection.transport
        return transport is not None and not transport.is_closing()


@pytest.fixture
async def client(serve: Serve) -> Client:
    served = await serve(read, TIMES)
    wire = await served.connect()
    return Client(served, wire, await served.connection())


@pytest.mark.parametrize("before", ["", "request"])
async def test_a_head_has_its_time_from_its_first_byte(client: Client, before: str) -> None:
    if before:
        client.send(GET)
        assert (await client.wire.read_answer()).status == 200
        await client.wait(70)
    else:
        await client.wait(9)
    client.send(GET[:1])
    await client.wait(9)
    for byte in GET[1:-1]:
        client.send(bytes([byte]))
    assert client.open
    await client.wait(1)
    answer = await client.wire.read_answer()
    assert (answer.status, answer.header("Connection")) == (408, "close")


@pytest.mark.parametrize("text", [b"G", b"GET / HTTP/1.1\r\n"])
async def test_dribbling_wins_no_time(client: Client, text: bytes) -> None:
    client.send(text)
    await client.wait(6)
    client.send(b"E")
    await client.wait(6)
    assert (await client.wire.read_answer()).status == 408


async def test_who_asks_for_a_head_too_slowly_gets_no_more(client: Client) -> None:
    client.send(b"HEAD / HTTP/1.1\r\n")
    await client.wait(10)
    head, _, body = (await client.wire.read_to_end()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert body == b""


@pytest.mark.parametrize(("text", "more"), [(b"\r", b"\n"), (b"\r\n", b"\r"), (b"\r\n", b"\r\n")])
async def test_empty_lines_win_no_time(client: Client, text: bytes, more: bytes) -> None:
    client.send(text)
    await client.wait(6)
    client.send(more)
    await client.wait(6)
    assert await client.wire.read_to_end() == b""


async def test_an_empty_line_behind_a_request_leaves_the_connection_idle(client: Client) -> None:
    client.send(GET + b"\r\n")
    assert (await client.wire.read_answer()).status == 200
    await client.wait(74)
    client.send(GET)
    assert (await client.wire.read_answer()).status == 200


async def test_a_connection_that_says_nothing_has_the_time_of_a_head(client: Client) -> None:
    await client.wait(9)
    assert client.open
    await client.wait(1)
    assert await client.wire.read_to_end() == b""


async def test_an_idle_connection_has_its_time_after_each_response(client: Client) -> None:
    for _ in range(3):
        client.send(GET)
        assert (await client.wire.read_answer()).status == 200
        await client.wait(74)
        assert client.open
    await client.wait(1)
    assert await client.wire.read_to_end() == b""


async def test_each_piece_of_a_body_has_its_time(client: Client) -> None:
    client.send(POST)
    for _ in range(5):
        await client.wait(59)
        client.send(b"x")
    assert client.open
    await client.wait(60)
    answer = await client.wire.read_answer()
    assert (answer.status, answer.header("Connection")) == (408, "close")


async def test_time_that_the_gateway_takes_is_not_the_client_s(serve: Serve) -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await gate.wait()
        return await read(exchange)

    served = await serve(slow, TIMES)
    wire = await served.connect()
    client = Client(served, wire, await served.connection())
    client.send(POST)
    client.send(b"x" * (HIGH_WATER + 1))  # no more is read from the client until this has been
    await client.wait(1000)
    gate.set()
    reader = (await served.connection())._reader
    await until(lambda: not reader._paused)
    await client.wait(59)
    client.send(b"x" * (1_000_000 - HIGH_WATER - 1))
    assert (await wire.read_answer()).body == b"1000000"


async def test_a_body_that_nobody_has_asked_for_has_all_the_time(serve: Serve) -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await gate.wait()
        return await read(exchange)

    served = await serve(slow, TIMES)
    wire = await served.connect()
    client = Client(served, wire, await served.connection())
    client.send(POST[:-2] + b"Expect: 100-continue\r\n\r\n")
    await client.wait(1000)
    gate.set()
    assert (await wire.read_answer()).status == 100
    await client.wait(59)
    client.send(b"x")
    await client.wait(59)
    assert client.open
    await client.wait(1)
    assert (await wire.read_answer()).status == 408


async def test_a_body_that_was_asked_for_has_its_time(serve: Serve) -> None:
    served = await serve(read, TIMES)
    wire = await served.connect()
    client = Client(served, wire, await served.connection())
    client.send(POST[:-2] + b"Expect: 100-continue\r\n\r\n")
    assert (await wire.read_answer()).status == 100
    await client.wait(60)
    assert (await wire.read_answer()).status == 408


async def test_an_exchange_has_all_the_time_it_wants(serve: Serve) -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await gate.wait()
        return Response(200, body=b"%g" % exchange.received_at)

    served = await serve(slow, TIMES)
    wire = await served.connect()
    client = Client(served, wire, await served.connection())
    client.send(GET)
    await client.wait(1000)
    client.send(GET[:3])  # waits behind it
    await client.wait(1000)
    gate.set()
    assert (await wire.read_answer()).body == b"1000"
    await client.wait(9)
    client.send(GET[3:])
    assert (await wire.read_answer()).body == b"3009"


async def test_the_end_of_a_response_has_the_time_of_sending(serve: Serve) -> None:
    """The response is written, but the client takes none of it: the connection is closing then."""

    async def much(exchange: Exchange) -> Response:
        return Response(200, body=bytes(20_000_000))

    served = await serve(much, "send_timeout = 60")
    wire = await served.connect(receive_buffer=4096)
    wire.send(GET)
    connection = await served.connection()
    await until(lambda: connection.writing_paused)
    await served.wait_until_closed(60)
