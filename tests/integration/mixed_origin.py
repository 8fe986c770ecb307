"""An origin for mixed traffic: answers well, badly, or not at all, as the path asks."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLAIN = b"plain\n" * 100
PIECE = b"piece\n" * 1000
PIECES = 20


class MixedOrigin:
    """The origin, on a free port.

    Attributes:
        port: The port that it listens on.

    """

    def __init__(self) -> None:
        self.port = 0
        app = web.Application(client_max_size=0)
        routes = {
            "/plain": self._plain,
            "/echo": self._echo,
            "/chunked": self._chunked,
            "/endless": self._endless,
            "/early": self._early,
            "/moved": self._moved,
            "/reset": self._reset,
            "/broken": self._broken,
            "/websocket": self._websocket,
        }
        for path, handler in routes.items():
            app.router.add_route("*", path, handler)
        # With a logger of its own: that clients leave is an error for aiohttp, and wanted here.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, logger=logging.getLogger("origin")
        )

    @property
    def connections(self) -> int:
        """How many connections to it are open."""
        return len(self._runner.server.connections) if self._runner.server else 0

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop."""
        await self._runner.cleanup()

    async def _plain(self, request: web.Request) -> web.Response:
        return web.Response(body=PLAIN)

    async def _echo(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def _chunked(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(PIECES):
            await response.write(PIECE)
            await asyncio.sleep(0)  # so that the pieces are not one write
        return response

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        """Send until the gateway has closed the connection."""
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(PIECE)

    async def _early(self, request: web.Request) -> web.Response:
        """Answer without reading the body."""
        return web.Response(status=403)

    async def _moved(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/plain"})

    async def _reset(self, request: web.Request) -> web.Response:
        self._break_off(request)
        return web.Response()

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        """Send half of what was announced."""
        response = web.StreamResponse(headers={"Content-Length": str(2 * len(PLAIN))})
        await response.prepare(request)
        await response.write(PLAIN)
        self._break_off(request)
        return response

    @staticmethod
    def _break_off(request: web.Request) -> None:
        if request.transport is not None:
            request.transport.abort()

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            if message.type is WSMsgType.BINARY:
                await websocket.send_bytes(message.data)
        return websocket


@asynccontextmanager
async def mixed_origin() -> AsyncIterator[MixedOrigin]:
    """Run an origin."""
    origin = MixedOrigin()
    await origin.start()
    try:
        yield origin
    finally:
        await origin.close()
