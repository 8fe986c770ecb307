"""An issuer of the test's own loop that publishes a key set, or fails to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from aiohttp import web

if TYPE_CHECKING:
    import ssl


class JwksServer:
    """Publishes keys at ``/jwks.json`` on a free port of 127.0.0.1.

    Attributes:
        text: What it answers with.
        status: Status of its answers.
        headers: Further fields of them.
        fetches: How often it was asked.
        answering: Cleared, it answers nobody until it is set again.

    """

    def __init__(self, text: str, tls: ssl.SSLContext | None = None) -> None:
        self.text = text
        self._tls = tls
        self.status = 200
        self.headers: dict[str, str] = {}
        self.fetches = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self._asked = asyncio.Condition()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answering.set()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where the keys are."""
        host, port = self._runner.addresses[0][:2]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host}:{port}/jwks.json"

    async def asked(self, count: int) -> None:
        """Return once it was asked so often."""
        async with asyncio.timeout(10), self._asked:
            await self._asked.wait_for(lambda: self.fetches >= count)

    async def _answer(self, _request: web.Request) -> web.Response:
        async with self._asked:
            self.fetches += 1
            self._asked.notify_all()
        await self.answering.wait()
        return web.Response(text=self.text, status=self.status, headers=self.headers)
