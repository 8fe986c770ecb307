"""A TCP proxy in front of a real server, whose connections a test can cut, stop or slow down."""

from __future__ import annotations

import asyncio
from typing import Self


class TcpProxy:
    """Forwards bytes between clients and a port of 127.0.0.1.

    Attributes:
        port: The port that it listens on.
        delay: Seconds by which each piece of an answer is held back.
        connections: How many it has taken.

    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.delay = 0.0
        self.connections = 0
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Take no more connections, and break off those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """Hold all bytes back, as a server that hangs."""
        self._passing.clear()

    def go_on(self) -> None:
        """Undo :meth:`stop`."""
        self._passing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._copy(reader, there, 0.0), self._copy(answers, writer, None))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            for one in (writer, there):
                if one is not None:
                    one.transport.abort()

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float | None
    ) -> None:
        while data := await source.read(65536):
            await self._passing.wait()
            if pause := self.delay if delay is None else delay:
                await asyncio.sleep(pause)
            target.write(data)
            await target.drain()
        target.close()
