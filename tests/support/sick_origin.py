"""An HTTP origin of the test's own loop whose answers the test sets, connection by connection."""

from __future__ import annotations

import asyncio
from typing import Self


class SickOrigin:
    """Answers every request with ``answer``; closes every connection after that.

    Attributes:
        answer: The bytes to answer with; nothing at all where it is ``None``.
        requests: The heads of the requests that came in.

    """

    def __init__(
        self, answer: bytes | None = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    ) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self._asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def respond(self, status: int) -> None:
        """Answer with an empty response of this status from now on."""
        self.answer = f"HTTP/1.1 {status} Something\r\nContent-Length: 0\r\n\r\n".encode()

    async def asked(self, count: int) -> None:
        """Return once ``count`` requests have come in."""
        async with asyncio.timeout(10):
            while len(self.requests) < count:
                self._asked.clear()
                await self._asked.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode("latin-1"))
            self._asked.set()
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer)
                await writer.drain()
        finally:
            self._tasks.discard(task)
            writer.close()
