"""The connections of the admin listener: how many at once, and how long each may keep its place.

The listener is in the process that supervises all others, so a client that opens connections and
does nothing with them must not use up its descriptors. aiohttp bounds neither their number nor a
client that does not read its answer, and asyncio's server would start any number of TLS handshakes
before aiohttp hears of them. So sockets are accepted here, and each is counted from its first
moment to its last.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from gatewayd.telemetry.metrics import Cell, Metrics

IDLE_SECONDS = 10.0
"""Time from the start of a connection, or from an answer on it, to the end of the next head; also
the time for a TLS handshake."""

SEND_SECONDS = 30.0
"""How often a connection is looked at: one that has bytes to send at two looks in a row is cut, so
an answer has once to twice that time. Also the time in which a TLS connection that is closed must
have sent its rest and have got the client's farewell."""

_CLOSE_SECONDS = 1.0  # for requests that run, then for answers that are not yet taken
_BACKLOG = 128
_RETRY_SECONDS = 1.0  # until the next try where the system has no descriptor left

logger = logging.getLogger("gatewayd.admin")


def refused_connections(metrics: Metrics) -> Cell:
    """Return the counter of connections that were closed because there were too many.

    Args:
        metrics: What the node itself counts.

    """
    return metrics.counter(
        "gatewayd_admin_refused_connections",
        "Connections of the admin listener closed because there were too many.",
    ).labels()


class BoundedSite:
    """Serves an application on a socket, to a bounded number of connections.

    Args:
        app: The application.
        listener: The socket, bound; it stays the caller's to close.
        tls: Context for TLS, if it is to be spoken.
        max_connections: Tells how many connections there may be; asked for each new one, as a
            reload may change it. Those in TLS handshakes count.
        refused: Counts those that were closed because there were too many.
        idle_seconds: As :data:`IDLE_SECONDS`.
        send_seconds: As :data:`SEND_SECONDS`.

    """

    def __init__(
        self,
        app: web.Application,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        max_connections: Callable[[], int],
        refused: Cell,
        *,
        idle_seconds: float = IDLE_SECONDS,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_CLOSE_SECONDS)
        self._listener = listener
        self._tls = tls
        self._max_connections = max_connections
        self._refused = refused
        self._idle_seconds = idle_seconds
        self._send_seconds = send_seconds
        self._accepting: asyncio.Task[None] | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accept connections until :meth:`close`.

        Raises:
            OSError: the socket cannot be listened on.

        """
        await self._runner.setup()
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._accepting = asyncio.create_task(self._accept(), name="admin accept")

    async def close(self) -> None:
        """Stop; requests that run have a second to end, answers that are sent another one."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        await self._runner.cleanup()
        if self._open:
            await asyncio.wait(self._open, timeout=_CLOSE_SECONDS)
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except ConnectionError:  # it has gone before it was accepted
                continue
            except OSError as error:
                logger.warning("cannot accept on the admin listener: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if len(self._open) >= self._max_connections():
                self._refused.value += 1
                accepted.close()
                continue
            task = loop.create_task(self._serve(accepted), name="admin connection")
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        """Serve a connection; ends when it has ended, which frees its place."""
        loop = asyncio.get_running_loop()
        server = self._runner.server
        assert server is not None  # noqa: S101  # start() has made it
        connection = _Connection(server, loop, self._idle_seconds)
        handshake, shutdown = None, None
        if self._tls is not None:
            handshake, shutdown = self._idle_seconds, self._send_seconds
        # What fails here is the client's doing: no handshake, not in time, or it has gone.
        with suppress(OSError):
            transport, _ = await loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=shutdown,
            )
            try:
                await self._until_ended(connection, transport)
            except asyncio.CancelledError:
                transport.abort()
                raise

    async def _until_ended(self, connection: _Connection, transport: asyncio.Transport) -> None:
        # Looked at and not timed by the writes: a closed transport waits, without end and without
        # telling anybody, for a client that does not take the rest.
        #
        # A TLS transport does not count what it has given to the one below it, which may be a whole
        # answer. aiohttp takes that one for sent, and closes when the connection has been idle;
        # from then on TLS's farewell counts, which waits behind it. So does a next answer.
        had_unsent = False
        while not (await asyncio.wait([connection.ended], timeout=self._send_seconds))[0]:
            has_unsent = transport.get_write_buffer_size() > 0
            if has_unsent and had_unsent:
                transport.abort()
            had_unsent = has_unsent


class _Connection(web.RequestHandler):
    """aiohttp's connection, which also tells its end.

    Attributes:
        ended: Done when the connection has ended.

    """

    __slots__ = ("ended",)

    def __init__(
        self, server: web.Server, loop: asyncio.AbstractEventLoop, idle_seconds: float
    ) -> None:
        # aiohttp's time-out for keep-alive runs from the start of a connection and is not put off
        # by bytes, only by an answer: it bounds the head as well (a test holds aiohttp to that).
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # its own default for "none"
            keepalive_timeout=idle_seconds,
        )
        self.ended: asyncio.Future[None] = loop.create_future()

    def log_exception(self, *args: Any, **more: Any) -> None:
        """Log an error; of a request that cannot be read only what kind of mistake it has.

        The stack is aiohttp's own then, and the text has what the client has sent.
        """
        error = more.get("exc_info")
        if isinstance(error, HttpProcessingError):
            logger.info("a request on the admin listener cannot be read: %s", type(error).__name__)
        else:
            super().log_exception(*args, **more)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell that the connection has ended."""
        super().connection_lost(exc)
        if not self.ended.done():
            self.ended.set_result(None)
