"""The public listener of one worker."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

# Not from aiohttp.web, whose applications and routes take 1.4 MB and are not used here.
from aiohttp.web_server import Server as Registry

from gatewayd.server.connection import ClientConnection
from gatewayd.server.tls import TlsContext

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import StreamResponse

    from gatewayd.config.schema import TlsConfig
    from gatewayd.generation import Generations
    from gatewayd.timers import Sweeper

logger = logging.getLogger("gatewayd.server")

# Seconds that TLS may take to say farewell; more than any response, as asyncio knows no "never".
_LONGEST_SHUTDOWN = 24 * 60 * 60.0

ABORT_SECONDS = 5.0
"""Time for exchanges to end that were broken off. A filter that swallows its cancellation would
keep the process from closing what it has."""


class Server:
    """Accepts connections and serves them with the running generation.

    Args:
        generations: Gives the running generation.
        sweeper: Watches the connections' deadlines.

    Attributes:
        generations: Gives the running generation.
        in_flight: Exchanges running now.
        open_connections: Client connections.
        registry: aiohttp's server, which keeps the connections.
        refused_connections: Connections closed because there were too many.
        refused_requests: Requests answered before they became exchanges: malformed ones.

    """

    def __init__(self, generations: Generations, sweeper: Sweeper) -> None:
        self.generations = generations
        self.sweeper = sweeper
        self.in_flight = 0
        self.open_connections = 0
        self.refused_connections = 0
        self.refused_requests = 0
        self._all_gone = asyncio.Event()
        # The handler is never called: ClientConnection has its own loop. Cancellation is what
        # releases an upstream when its client is gone.
        self.registry = Registry(_not_called, handler_cancellation=True)
        self._listeners: list[asyncio.Server] = []
        self._tls: TlsContext | None = None

    async def listen(self, sock: socket.socket, tls: TlsConfig | None) -> None:
        """Accept connections from a bound socket.

        Raises:
            ConfigError: a certificate cannot be loaded.

        """
        loop = asyncio.get_running_loop()
        if tls is not None:
            self._tls = TlsContext(tls)
            self._tls.watch()
        limits = self.generations.current.entry.limits
        self._listeners.append(
            await loop.create_server(
                lambda: ClientConnection(self, loop),
                sock=sock,
                backlog=limits.backlog,
                ssl=self._tls.context if self._tls else None,
                ssl_handshake_timeout=limits.header_timeout if self._tls else None,
                # It holds for what is unsent as well: the connection's own deadline is the one that
                # ends it, where the client takes nothing.
                ssl_shutdown_timeout=_LONGEST_SHUTDOWN if self._tls else None,
            )
        )

    def opened(self) -> bool:
        """Count a connection in; return whether it may stay."""
        self.open_connections += 1
        self._all_gone.clear()
        if self.open_connections <= self.generations.current.entry.limits.max_connections:
            return True
        self.refused_connections += 1
        return False

    def closed(self) -> None:
        """Count a connection out."""
        self.open_connections -= 1
        if not self.open_connections:
            self._all_gone.set()

    def certificates(self) -> Mapping[str, float]:
        """Return when each certificate expires, in seconds of the Unix clock, by its file."""
        return {} if self._tls is None else self._tls.expiries

    def reload_tls(self, tls: TlsConfig) -> None:
        """Serve other certificates from now on.

        Raises:
            ConfigError: a certificate cannot be loaded; the old ones stay in use.

        """
        if self._tls is not None:
            self._tls.replace(tls)

    def close_idle(self) -> None:
        """Close the connections after their exchange, at once where none runs."""
        for connection in self.registry.connections:
            connection.close()

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109  # bounds several waits
        """Accept no more, let the exchanges end, break off those that run after ``timeout`` s."""
        for listener in self._listeners:
            listener.close()
        self.close_idle()
        if self.open_connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._all_gone.wait()
        if self.open_connections:
            logger.warning("%d connections broken off after %g s", self.open_connections, timeout)
        connections = [
            one for one in self.registry.connections if isinstance(one, ClientConnection)
        ]
        tasks = [task for one in connections if (task := one.abort()) is not None]
        if tasks:
            _, going_on = await asyncio.wait(tasks, timeout=ABORT_SECONDS)
            for task in going_on:
                logger.error("an exchange goes on that was broken off, in %s", _calls_of(task))

    async def close(self) -> None:
        """Break off what is left, and let go of the certificates."""
        await self.drain(0)
        if self._tls is not None:
            await self._tls.close()


def _calls_of(task: asyncio.Task[Any]) -> str:
    """Tell which coroutines await each other in a task, for who looks for the one to blame."""
    names = []
    call: Any = task.get_coro()
    while (name := getattr(call, "__qualname__", None)) is not None:
        names.append(name)
        call = getattr(call, "cr_await", None)
    return " > ".join(names)


async def _not_called(request: BaseRequest) -> StreamResponse:
    raise NotImplementedError(f"{request!r} went past ClientConnection")
