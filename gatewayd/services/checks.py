"""Active health checks of one service: one worker of the node asks, the others read its answers.

Every check is a connection of its own: what must be known is whether a new one can be made.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gatewayd.config.types import status_codes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.config.schema import HealthConfig
    from gatewayd.process.board import Board
    from gatewayd.services.health import Health
    from gatewayd.services.tls import ClientTls
    from gatewayd.upstream.names import Names

AT_ONCE = 64
"""Checks of a service that run at the same time: of instances that did not fail the last one, and
as many of those that did. So instances that hang, each check until its time-out, keep each other
waiting, and not the others."""

LOOK_SECONDS = 0.5
"""How often a worker that does not check reads what was found, at least as often as checks run."""

logger = logging.getLogger("gatewayd.health")


class Checks:
    """The checks of one service.

    Args:
        key: Names the service and its settings among all that workers share.
        config: Settings.
        tls: For instances whose URL says ``https``.
        server_name: Name to verify their certificates for; the URL's host where ``None``.
        board: What the workers of the node share; ``None`` where there is one worker.
        names: Finds the addresses of instances that have names.

    """

    def __init__(
        self,
        key: str,
        config: HealthConfig,
        tls: ClientTls,
        server_name: str | None,
        board: Board | None,
        names: Names,
    ) -> None:
        self._key = key
        self._config = config
        self._tls = tls
        self._server_name = server_name
        self._board = board
        self._names = names
        self._statuses = status_codes(config.statuses)
        self._streaks: dict[str, int] = {}  # successes in a row, failures as negative numbers
        self._running: dict[str, asyncio.Task[None]] = {}
        self._free, self._free_for_failing = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        self._task: asyncio.Task[None] | None = None

    def start(self, health: Health) -> None:
        """Start to check what ``health`` follows; without effect once it is running."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(health), name=f"checks of {health.name}")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if self._board is not None and self._board.claim():
                self._board.publish(self._key, None)

    async def _run(self, health: Health) -> None:
        loop = asyncio.get_running_loop()
        connector = TCPConnector(force_close=True, limit=0, resolver=_Resolver(self._names))
        async with (
            ClientSession(connector=connector, cookie_jar=DummyCookieJar()) as session,
            self._ending_checks(),
        ):
            while True:
                started = loop.time()
                pause = self._config.interval
                try:
                    if self._board is None or self._board.claim():
                        pause *= 1 + random.uniform(-1, 1) * self._config.jitter  # noqa: S311  # no secret
                        await self._round(session, health, pause)
                    else:
                        pause = min(pause, LOOK_SECONDS)
                        self._follow(health, self._board)
                except Exception:
                    # Whatever it is: without checks a failing instance would be used for good.
                    logger.exception("service %s: health checks failed", health.name)
                await asyncio.sleep(max(0.0, started + pause - loop.time()))

    async def _round(self, session: ClientSession, health: Health, seconds: float) -> None:
        """Check all instances once, and let the other workers know what was found.

        What takes longer than the round goes on beside the next one.
        """
        urls = health.urls
        self._streaks = {url: self._streaks.get(url, 0) for url in urls}
        for url in urls:
            if url not in self._running:
                self._running[url] = asyncio.create_task(self._check(session, health, url))
        if self._running:
            await asyncio.wait(self._running.values(), timeout=seconds)
        for url, check in list(self._running.items()):
            if check.done():
                del self._running[url]
                if (error := check.exception()) is not None:
                    logger.error("service %s: check of %s failed", health.name, url, exc_info=error)
        if self._board is not None:
            self._board.publish(self._key, {url: health.is_checked(url) for url in urls})

    @asynccontextmanager
    async def _ending_checks(self) -> AsyncIterator[None]:
        """Stop the checks that still run at the end of the block."""
        try:
            yield
        finally:
            for check in self._running.values():
                check.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _follow(self, health: Health, board: Board) -> None:
        """Take over what another worker found."""
        for url, healthy in board.read().get(self._key, {}).items():
            health.set_checked(url, healthy, "found by another worker")

    async def _check(self, session: ClientSession, health: Health, url: str) -> None:
        async with self._free if self._streaks[url] >= 0 else self._free_for_failing:
            failure = await self._ask(session, url)
        if url not in self._streaks:
            return  # it has gone
        streak = self._streaks[url]
        self._streaks[url] = streak = min(streak, 0) - 1 if failure else max(streak, 0) + 1
        if -streak >= self._config.unhealthy_after:
            health.set_checked(url, False, failure)
        elif streak >= self._config.healthy_after:
            health.set_checked(url, True, f"{streak} checks succeeded")

    async def _ask(self, session: ClientSession, url: str) -> str:
        """Ask an instance how it is; return what is wrong, nothing where nothing is."""
        config = self._config
        headers = {"User-Agent": "gatewayd-health"}
        if config.host is not None:
            headers["Host"] = config.host
        try:
            async with session.get(
                URL(url + config.path, encoded=True),
                headers=headers,
                allow_redirects=False,
                timeout=ClientTimeout(total=config.timeout),
                ssl=self._tls.context if url.startswith("https:") else True,
                server_hostname=self._server_name,
            ) as response:
                return "" if response.status in self._statuses else f"status {response.status}"
        except TimeoutError:
            return f"no answer in {config.timeout:g} s"
        except (ClientError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"


class _Resolver(AbstractResolver):
    """Finds names as connections for exchanges do."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # any will do
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._names.addresses(host)
        ]

    async def close(self) -> None:
        """Leave the names open, as they are not the session's."""
