"""Clients, gateway and origins in one event loop, with real sockets between them.

What is counted in such a process is the gateway's work and a little that is always the same: an
origin that looks at nothing, and clients that ask again as soon as they were answered.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

from gatewayd.process.worker import set_aside_what_stays
from tests.bench.origins import JSON_BODY
from tests.bench.peers import gatewayd_config
from tests.support.in_process import serving

_CONNECTIONS, _ORIGINS = 16, 3
_BODY = JSON_BODY.encode()
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


async def exchanges(count: int) -> None:
    """Have so many requests proxied by the smallest gateway, and see that all are answered.

    Raises:
        ConnectionError: One was not.
    """
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = [await _origin(stack) for _ in range(_ORIGINS)]
        config = gatewayd_config(ports, {"everything": "/"})
        gateway = await stack.enter_async_context(serving(config, folder))
        set_aside_what_stays()
        load = _Load(count)
        for _ in range(_CONNECTIONS):
            await loop.create_connection(lambda: _Client(load), "127.0.0.1", gateway.port)
        await load.done


async def _origin(stack: AsyncExitStack) -> int:
    """Start an origin, and return its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Origin, "127.0.0.1", 0)
    stack.callback(server.close)
    return cast("int", server.sockets[0].getsockname()[1])


class _Origin(asyncio.Protocol):
    """Takes whatever comes for a request: none is so long that it comes in pieces."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER)


class _Load:
    """Exchanges that all clients together have still to make."""

    def __init__(self, count: int) -> None:
        self.unasked = self.unanswered = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(reason))


class _Client(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, load: _Load) -> None:
        self._load = load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        if self._load.unasked:
            self._load.unasked -= 1
            self._transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        if not (data.startswith(b"HTTP/1.1 200 ") and data.endswith(_BODY)):
            self._load.fail(f"another answer came: {data!r}")
            return
        self._load.unanswered -= 1
        self._ask()
        if not self._load.unanswered and not self._load.done.done():
            self._load.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.fail(f"a connection was closed: {error!r}")
