"""WebSocket through the gateway, with the library `websockets` at both ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_anywhere
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.typing import Subprotocol

from tests.integration.configuration import config_for
from tests.support.servers import GatewayProcess, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from websockets.http11 import Request, Response

SECONDS = 10.0
CHAT = Subprotocol("chat")
connect = partial(connect_anywhere, proxy=None)
MEGABYTE = 1 << 20


class Echo:
    """An origin that sends everything back, and does something else on command.

    Attributes:
        closes: Code and reason of each connection's end, as this side has seen it.

    """

    def __init__(self) -> None:
        self.closes: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

    async def __call__(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        if connection.request is not None and connection.request.path == "/greet":
            await connection.send("hello")  # its bytes come right behind the 101
        with suppress(ConnectionClosedError):
            async for message in connection:
                await self._answer(connection, message)
        self.closes.put_nowait((connection.close_code, connection.close_reason))

    async def _answer(self, connection: ServerConnection, message: str | bytes) -> None:
        match message:
            case "ping":
                await (await connection.ping())
                await connection.send("pong")
            case "close":
                await connection.close(4001, "as you wish")
            case "break off":
                connection.transport.abort()
            case _:
                await connection.send(message)

    def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse what is not for the echo."""
        if request.path == "/forbidden":
            return connection.respond(HTTPStatus.FORBIDDEN, "not here\n")
        return None


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="module")
def origin_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(origin_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(config_for(origin_port), folder) as gateway:
        yield gateway


@pytest.fixture
async def url(echo: Echo, origin_port: int, gateway: GatewayProcess) -> AsyncIterator[str]:
    """URL of the gateway before the echo."""
    async with serve(
        echo,
        "127.0.0.1",
        origin_port,
        max_size=2 * MEGABYTE,
        process_request=echo.refuse,
        select_subprotocol=lambda _, offered: CHAT if CHAT in offered else None,
    ):
        yield f"ws://127.0.0.1:{gateway.port}"


@pytest.fixture
async def client(url: str) -> AsyncIterator[ClientConnection]:
    async with connect(url, max_size=2 * MEGABYTE) as client:
        yield client


@pytest.mark.parametrize(
    "message",
    ["", "grüße", b"", bytes(range(256)), "x" * 125, "x" * 126, "x" * 65536, bytes(MEGABYTE)],
    ids=["empty", "text", "no bytes", "bytes", "7 bits", "16 bits", "64 bits", "1 MB"],
)
async def test_a_message_comes_back(client: ClientConnection, message: str | bytes) -> None:
    await client.send(message)
    assert await client.recv() == message


async def test_fragments_come_back_as_one_message(client: ClientConnection) -> None:
    await client.send(["one ", "two ", "three"])
    assert await client.recv() == "one two three"


async def test_what_comes_right_behind_the_101_arrives(url: str) -> None:
    async with connect(f"{url}/greet") as client:
        assert await client.recv() == "hello"


async def test_many_megabytes_pass_both_ways_at_once(client: ClientConnection) -> None:
    messages = [bytes([number]) * MEGABYTE for number in range(20)]

    async def send() -> None:
        for message in messages:
            await client.send(message)

    sending = asyncio.create_task(send())
    assert [await client.recv() for _ in messages] == messages
    await sending


async def test_the_client_pings(client: ClientConnection) -> None:
    async with asyncio.timeout(SECONDS):
        await (await client.ping(b"are you there?"))


async def test_the_origin_pings(client: ClientConnection) -> None:
    await client.send("ping")
    async with asyncio.timeout(SECONDS):
        assert await client.recv() == "pong"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_the_ends_agree_on_compression(url: str, compression: str | None) -> None:
    async with connect(url, compression=compression) as client:
        agreed = [type(extension) for extension in client.protocol.extensions]
        assert agreed == ([PerMessageDeflate] if compression else [])
        await client.send("again " * 10_000)
        assert await client.recv() == "again " * 10_000


async def test_the_ends_agree_on_a_subprotocol(url: str) -> None:
    async with connect(url, subprotocols=[Subprotocol("other"), CHAT]) as client:
        assert client.subprotocol == CHAT


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1001, "bye"), (4999, "ä" * 61)],
    ids=["plain", "reason", "longest"],
)
async def test_the_origin_gets_the_clients_close(
    client: ClientConnection, echo: Echo, code: int, reason: str
) -> None:
    await client.close(code, reason)
    async with asyncio.timeout(SECONDS):
        assert await echo.closes.get() == (code, reason)


async def test_the_client_gets_the_origins_close(client: ClientConnection) -> None:
    await client.send("close")
    with pytest.raises(ConnectionClosedError) as closed:
        await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")


async def test_the_client_sees_that_the_origin_broke_off(client: ClientConnection) -> None:
    await client.send("break off")
    with pytest.raises(ConnectionClosedError) as closed:
        await client.recv()
    assert closed.value.rcvd is None


async def test_the_origin_sees_that_the_client_broke_off(
    client: ClientConnection, echo: Echo
) -> None:
    await client.send("hello")
    await client.recv()
    client.transport.abort()
    async with asyncio.timeout(SECONDS):
        code, _ = await echo.closes.get()
    assert code == 1006


async def test_the_client_gets_the_refusal_of_the_origin(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{url}/forbidden")
    assert refused.value.response.status_code == HTTPStatus.FORBIDDEN
    assert refused.value.response.body == b"not here\n"


async def test_a_hundred_connections_at_once(url: str) -> None:
    clients = await asyncio.gather(*(connect(url) for _ in range(100)))

    async def converse(number: int, client: ClientConnection) -> list[str | bytes]:
        async with client:
            for step in range(10):
                await client.send(f"{number} {step}")
            return [await client.recv() for _ in range(10)]

    heard = await asyncio.gather(*(converse(*each) for each in enumerate(clients)))
    assert heard == [[f"{number} {step}" for step in range(10)] for number in range(100)]
