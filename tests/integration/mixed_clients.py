"""Clients for mixed traffic, well and badly behaved ones, that check what they get."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.integration.mixed_origin import PIECE, PIECES, PLAIN
from tests.support.raw import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
SIZES = (0, 1, 1000, 70_000, 300_000)


class Client:
    """One client, which keeps its connection where it can.

    Args:
        port: The gateway's port.
        seed: Decides the order in which it does things.

    Attributes:
        exchanges: How many things it has done.

    """

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._random = random.Random(seed)
        self.exchanges = 0

    async def run(self, seconds: float) -> None:
        """Do one thing after the other for so long."""
        connector = aiohttp.TCPConnector(limit=1)
        base = f"http://127.0.0.1:{self._port}"
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        todo: list[Callable[[], Awaitable[None]]] = []
        async with aiohttp.ClientSession(base, connector=connector) as self._session:
            while loop.time() < end:
                if not todo:
                    todo = self._things()
                    self._random.shuffle(todo)
                await todo.pop()()
                self.exchanges += 1

    def _things(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.get, self.get, self.head, self.post, self.post_chunked, self.post_expecting,
            self.missing, self.moved, self.redirected, self.chunked, self.early, self.websocket,
            self.reset_by_origin, self.broken_by_origin, self.http_1_0, self.close_after_one,
            self.pipeline, self.leave_response, self.reset_response, self.leave_upload,
            self.reset_upload, self.leave_before_response, self.leave_tunnel, self.leave_head,
        ]  # fmt: skip

    # --- as it should be ---------------------------------------------------------------------

    async def get(self) -> None:
        async with self._session.get("/plain") as response:
            assert (response.status, await response.read()) == (200, PLAIN)

    async def head(self) -> None:
        async with self._session.head("/plain") as response:
            assert (response.status, response.content_length) == (200, len(PLAIN))

    async def post(self) -> None:
        body = self._random.randbytes(self._random.choice(SIZES))
        async with self._session.post("/echo", data=body) as response:
            assert (response.status, await response.read()) == (200, body)

    async def post_chunked(self) -> None:
        body = self._random.randbytes(self._random.choice(SIZES))

        async def halves() -> AsyncIterator[bytes]:
            yield body[: len(body) // 2]
            yield body[len(body) // 2 :]

        async with self._session.post("/echo", data=halves()) as response:
            assert (response.status, await response.read()) == (200, body)

    async def post_expecting(self) -> None:
        """Send the body only after 100 Continue."""
        async with self._session.post("/echo", data=PIECE, expect100=True) as response:
            assert (response.status, await response.read()) == (200, PIECE)

    async def missing(self) -> None:
        async with self._session.get("/missing") as response:
            assert response.status == 404
            await response.read()

    async def moved(self) -> None:
        async with self._session.get("/moved", allow_redirects=False) as response:
            assert response.status == 302

    async def redirected(self) -> None:
        """Get a redirect of the gateway's own, with a body that it does not read."""
        async with self._session.post("/old", data=PIECE, allow_redirects=False) as response:
            assert response.status == 308

    async def chunked(self) -> None:
        async with self._session.get("/chunked") as response:
            assert (response.status, await response.read()) == (200, PIECE * PIECES)

    async def websocket(self) -> None:
        async with self._session.ws_connect("/websocket") as websocket:
            for size in SIZES:
                message = self._random.randbytes(size)
                await websocket.send_bytes(message)
                assert await websocket.receive_bytes() == message

    # --- where the origin misbehaves ---------------------------------------------------------

    async def reset_by_origin(self) -> None:
        async with self._session.get("/reset") as response:
            assert response.status == 502
            await response.read()

    async def broken_by_origin(self) -> None:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with self._session.get("/broken") as response:
                await response.read()

    # --- with a connection of its own --------------------------------------------------------

    async def early(self) -> None:
        """Get an answer to a request whose body is never sent."""
        head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
        async with self._ask(head) as wire:
            assert (await wire.read_answer()).status == 403

    async def http_1_0(self) -> None:
        async with self._ask(b"GET /chunked HTTP/1.0\r\n\r\n") as wire:
            assert (await wire.read_answer()).body == PIECE * PIECES
            assert await wire.read_to_end() == b""

    async def close_after_one(self) -> None:
        close = b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        async with self._ask(close) as wire:
            assert (await wire.read_answer()).body == PLAIN
            assert await wire.read_to_end() == b""

    async def pipeline(self) -> None:
        async with self._ask(GET % b"/plain" + GET % b"/chunked" + GET % b"/plain") as wire:
            bodies = [(await wire.read_answer()).body for _ in range(3)]
            assert bodies == [PLAIN, PIECE * PIECES, PLAIN]

    # --- badly behaved -----------------------------------------------------------------------

    async def leave_response(self) -> None:
        async with self._ask(GET % b"/endless") as wire:
            await wire.read(100_000)

    async def reset_response(self) -> None:
        async with self._ask(GET % b"/endless") as wire:
            await wire.read(100_000)
            wire.reset()

    async def leave_upload(self) -> None:
        head = b"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
        async with self._ask(head + PIECE) as wire:
            await wire.send_all(PIECE * 20)

    async def reset_upload(self) -> None:
        head = b"PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        async with self._ask(head + b"1000\r\n" + PIECE[:100]) as wire:
            wire.reset()

    async def leave_before_response(self) -> None:
        async with self._ask(GET % b"/chunked"):
            pass

    async def leave_tunnel(self) -> None:
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        async with self._ask(b"GET /websocket HTTP/1.1\r\nHost: a\r\n" + upgrade + key) as wire:
            assert (await wire.read_answer()).status == 101
            wire.reset()

    async def leave_head(self) -> None:
        async with self._ask(b"GET /plain HTTP/1.1\r\nHos"):
            pass

    @asynccontextmanager
    async def _ask(self, data: bytes) -> AsyncIterator[Wire]:
        wire = await Wire.connect(self._port)
        try:
            wire.send(data)
            yield wire
        finally:
            wire.close()


async def run_clients(port: int, count: int, seconds: float) -> int:
    """Let so many clients run at once for so long; return how many exchanges they had."""
    clients = [Client(port, seed) for seed in range(count)]
    async with asyncio.TaskGroup() as running:
        for client in clients:
            running.create_task(client.run(seconds))
    return sum(client.exchanges for client in clients)
