"""An origin that answers every request with the request: its head, and its trailers."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class EchoOrigin:
    """Keeps connections alive, as the gateway expects of an origin.

    Attributes:
        port: The port of 127.0.0.1 that it listens on.
        requests: How many have arrived.

    """

    def __init__(self) -> None:
        self.port = 0
        self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL of the instance that this is."""
        return f"http://127.0.0.1:{self.port}"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                seen = head + await self._rest(head.lower(), reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(seen) + seen)
        writer.close()

    async def _rest(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        """Read a chunked body; return its trailers."""
        if b"transfer-encoding: chunked" not in head:
            return b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        trailers = b""
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            trailers += line
        return trailers

    async def close(self) -> None:
        """Break off what is open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def echo_origin() -> AsyncIterator[EchoOrigin]:
    """Run an origin on a free port."""
    origin = EchoOrigin()
    server = await asyncio.start_server(origin.accept, "127.0.0.1", 0)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        await origin.close()
