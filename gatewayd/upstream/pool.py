"""The connections to one instance: which one a request gets, how many there may be, when they end.

Every decision is one synchronous step (:meth:`Pool._decide`), acted upon afterwards, so that no
other exchange can come between looking and taking. Connections are reused last-in-first-out: a few
stay warm and the rest reach their idle time-out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayd.errors import (
    ConnectFailure,
    ConnectTimeout,
    PoolExhausted,
    UpstreamReset,
    UpstreamTimeout,
)
from gatewayd.upstream.connection import CLOSED, UpstreamConnection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from gatewayd.config.schema import ServiceConfig
    from gatewayd.exchange import Response
    from gatewayd.timers import Sweeper
    from gatewayd.upstream.attempt import Attempt
    from gatewayd.upstream.head import HeadCache
    from gatewayd.upstream.names import Names

# RFC 9110 section 9.2.2: sending these twice has the effect of sending them once.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class _Decision(Enum):
    CONNECT = "connect"
    WAIT = "wait"
    REFUSE = "refuse"


class Pool:
    """The connections to one instance.

    Args:
        service: Name of the service, for errors.
        url: ``http://host:port`` or ``https://host:port``.
        config: Limits and time-outs.
        tls: Context for ``https``.
        sweeper: Watches deadlines; its clock is the deadlines' clock.
        names: Finds the addresses of an instance that has a name.
        heads: Parses the heads of responses.

    """

    def __init__(
        self,
        service: str,
        url: str,
        config: ServiceConfig,
        tls: ssl.SSLContext | None,
        sweeper: Sweeper,
        names: Names,
        heads: HeadCache,
    ) -> None:
        parts = urlsplit(url)
        self.service = service
        self.url = url
        self.config = config
        self.sweeper = sweeper
        self._host = parts.hostname or ""
        self._names = None if _is_address(self._host) else names
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = tls if parts.scheme == "https" else None
        self._server_name = (config.tls.server_name or self._host) if self._tls else None
        self.heads = heads
        # What every response asks for, as pydantic's attributes take five times as long.
        self._idle_timeout = config.idle_timeout
        self.max_head_bytes = config.max_response_header_bytes
        self._idle: list[UpstreamConnection] = []
        self._open = 0  # connections that exist or are being made
        self._waiters: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._closed = False

    async def send(self, attempt: Attempt) -> Response:
        """Send a request on an idle connection or a new one; return its response.

        A reused connection may have been closed by the instance while the request was on its way.
        If it died before any byte of the response, the request goes out once more on a fresh
        connection, provided that this cannot make it happen twice (RFC 9112 section 9.3.1).

        Raises:
            UpstreamError: the instance failed, or cannot be reached.

        """
        connection = self._idle.pop() if self._idle else await self._acquire(attempt)
        while True:
            reused = connection.requests
            try:
                return await connection.send(attempt)
            except UpstreamReset as reset:
                if not reused or connection.received or not _may_repeat(attempt, reset):
                    raise
            except asyncio.CancelledError:
                connection.abandon(attempt)
                raise
            # In the place of the one that has just died, whatever the limit says. This one has
            # carried nothing yet, so there is no third.
            self._open += 1
            connection = await self._connect(attempt)

    @property
    def in_use(self) -> int:
        """Connections that carry an exchange, or are being made for one."""
        return self._open - len(self._idle)

    @property
    def idle(self) -> int:
        """Connections that wait for one."""
        return len(self._idle)

    @property
    def pending(self) -> int:
        """Exchanges that wait for a connection."""
        return len(self._waiters)

    @property
    def active(self) -> int:
        """Exchanges that use a connection or wait for one, responses on their way included."""
        return self._open - len(self._idle) + len(self._waiters)

    # --- acquiring ---------------------------------------------------------------------------

    def _decide(self) -> _Decision:
        if self._open < self.config.max_connections:
            self._open += 1
            return _Decision.CONNECT
        if len(self._waiters) < self.config.max_pending:
            return _Decision.WAIT
        return _Decision.REFUSE

    async def _acquire(self, attempt: Attempt) -> UpstreamConnection:
        attempt.asked_at = self.sweeper.clock()
        decision = self._decide()
        if decision is _Decision.CONNECT:
            return await self._connect(attempt)
        if decision is _Decision.REFUSE:
            raise PoolExhausted(f"{len(self._waiters)} exchanges wait already", sent=False)
        connection = await self._wait(attempt)
        return await self._connect(attempt) if connection is None else connection

    async def _wait(self, attempt: Attempt) -> UpstreamConnection | None:
        """Wait for a connection to come free, or for the place of one that ended (``None``)."""
        waiter: asyncio.Future[UpstreamConnection | None]
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        left = self._left(attempt)
        limit = min(self.config.pool_timeout, left)
        try:
            async with asyncio.timeout(limit):
                return await waiter
        except BaseException as error:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.done() and not waiter.cancelled():
                self._pass_on(waiter.result())  # it came at the moment of time-out or cancellation
            if not isinstance(error, TimeoutError):
                raise
            if limit == left:
                late = UpstreamTimeout("the exchange's deadline passed", sent=False)
                late.instance_failed = False  # it has not been asked
                raise late from None
            message = f"no connection came free in {limit:.3g} s"
            raise PoolExhausted(message, sent=False) from None

    def _left(self, attempt: Attempt) -> float:
        return max(0.0, min(attempt.deadline, attempt.answer_by) - self.sweeper.clock())

    async def _connect(self, attempt: Attempt) -> UpstreamConnection:
        """Make a connection; its place in ``_open`` has been taken and is given back on failure."""
        began = self.sweeper.clock()
        limit = min(self.config.connect_timeout, self._left(attempt))
        connection = UpstreamConnection(self, self.sweeper.clock)
        self.sweeper.watch(connection)
        try:
            async with asyncio.timeout(limit):
                await self._open_connection(connection)
        except BaseException as error:
            connection.close()  # it may have been made in the moment of time-out or cancellation
            if isinstance(error, TimeoutError):
                late = ConnectTimeout(f"no connection in {limit:.3g} s", sent=False)
                whole = limit == self.config.connect_timeout
                late.instance_failed = whole or attempt.gives_time(began)
                raise late from error
            if isinstance(error, (OSError, UnicodeError)):  # UnicodeError: no name for DNS
                raise ConnectFailure(f"{self.url}: {error}", sent=False) from error
            raise
        return connection

    async def _open_connection(self, connection: UpstreamConnection) -> None:
        """Connect to the first address that can be connected to."""
        loop = asyncio.get_running_loop()
        addresses: Sequence[str] = (self._host,)
        if self._names is not None:
            addresses = await self._names.addresses(self._host)
        failures: list[str] = []
        for address in addresses:
            try:
                await loop.create_connection(
                    lambda: connection,
                    address,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._server_name,
                )
            except OSError as error:
                failures.append(f"{address}: {error}")
            else:
                return
        raise OSError("; ".join(failures))

    # --- giving back -------------------------------------------------------------------------

    def give_back(self, connection: UpstreamConnection) -> None:
        """Take a connection that is ready for the next request."""
        if self._closed:
            connection.close()
        elif not self._waiters or not self._hand_over(connection):
            connection.expires_at = self.sweeper.clock() + self._idle_timeout
            self._idle.append(connection)

    def drop(self, connection: UpstreamConnection) -> None:
        """Forget a connection that has been closed."""
        self.sweeper.forget(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._vacate()

    def _vacate(self) -> None:
        """Give the place of a connection that is gone to whoever waits, to make a new one."""
        self._open -= 1
        if self._open < self.config.max_connections and self._hand_over(None):
            self._open += 1

    def _hand_over(self, connection: UpstreamConnection | None) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _pass_on(self, connection: UpstreamConnection | None) -> None:
        """Give what a waiter got but cannot use any more to the next one."""
        if connection is None:
            self._vacate()
        elif connection.state != CLOSED:  # else it has vacated its place itself
            self.give_back(connection)

    def close(self) -> None:
        """Close the idle connections now, the others when their exchanges end."""
        self._closed = True
        for connection in list(self._idle):
            connection.close()

    def __repr__(self) -> str:
        return f"<pool of {self.url}: {self._open} open, {len(self._idle)} idle>"


def _may_repeat(attempt: Attempt, reset: UpstreamReset) -> bool:
    """Whether a request that died with a reused connection may go out again."""
    if not reset.sent:
        return True  # nor has a stream been read from
    return attempt.method in IDEMPOTENT and isinstance(attempt.body, bytes)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
