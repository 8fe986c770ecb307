"""Bytes both ways after ``101 Switching Protocols``, without looking into them.

A frame-by-frame proxy of WebSocket costs 22-35 us per echo, raw bytes 9-17 (measured). Each side's
transport gets a protocol that writes what it reads to the other side and holds its reader while the
other side's buffer is full. An end-of-file is passed on, and the tunnel ends when both have come.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from gatewayd.timers import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.timers import Sweeper

# Longest time that what is unsent at the tunnel's end has to leave; the server's send_timeout.
_FLUSH_SECONDS = 60.0


class Tunnel:
    """The upstream half of an upgraded connection, waiting for the client's half.

    Args:
        transport: The upstream connection's transport; the tunnel owns it from here on.
        rest: What the instance sent right behind its 101.
        idle_timeout: Seconds in which nothing is carried before the tunnel is closed.
        sweeper: Watches the idle time.
        on_end: Called once when the tunnel has ended.

    Attributes:
        expires_at: When :meth:`expire` is due.

    """

    def __init__(
        self,
        transport: asyncio.Transport,
        rest: bytes,
        *,
        idle_timeout: float,
        sweeper: Sweeper,
        on_end: Callable[[], None],
    ) -> None:
        self._upstream = _Side(self, transport)
        self._client: _Side | None = None
        self._rest = rest
        self._idle_timeout = idle_timeout
        self._sweeper = sweeper
        self._on_end: Callable[[], None] | None = on_end
        self._ended = asyncio.get_running_loop().create_future()
        self.expires_at = NEVER
        # Nothing may be read before there is a client to give it to.
        transport.pause_reading()
        transport.set_protocol(self._upstream)
        self.touch()
        sweeper.watch(self)

    async def run(self, transport: asyncio.Transport, rest: bytes) -> None:
        """Carry bytes until both sides have ended.

        Args:
            transport: The client's transport; closed at the end. Its protocol is replaced: the
                caller tells the old one afterwards that the connection is lost.
            rest: What the client sent right behind its request.

        """
        client = self._client = _Side(self, transport)
        client.other, self._upstream.other = self._upstream, client
        transport.set_protocol(client)
        if self._on_end is None:
            self._close_sides()
            return
        if self._rest:
            transport.write(self._rest)
        if rest:
            self._upstream.transport.write(rest)
        transport.resume_reading()
        self._upstream.transport.resume_reading()
        try:
            await self._ended
        finally:
            self.close()

    def touch(self) -> None:
        """Start the idle time anew."""
        self.expires_at = self._sweeper.clock() + self._idle_timeout

    def expire(self, now: float) -> None:  # noqa: ARG002  # the sweeper's contract
        """Close the tunnel: nothing was carried for too long, or its rest was not taken."""
        if self._on_end is not None:
            self.close()
            return
        self.expires_at = NEVER
        for side in self._sides():
            side.transport.abort()

    def close(self) -> None:
        """Close both sides, each once it has taken what is unsent. Safe to call twice."""
        if self._on_end is None:
            return
        on_end, self._on_end = self._on_end, None
        self._close_sides()
        if not self._ended.done():
            self._ended.set_result(None)
        on_end()

    def lost(self) -> None:
        """End the tunnel, as a side has been lost; it is watched until both have."""
        self.close()
        if all(side.lost for side in self._sides()):
            self._sweeper.forget(self)

    def _close_sides(self) -> None:
        # Watched whether or not a transport tells of bytes that wait: one of TLS does not count
        # what it has given to the one below it, which waits for the client without end.
        self.expires_at = self._sweeper.clock() + min(_FLUSH_SECONDS, self._idle_timeout)
        self._sweeper.watch(self)
        for side in self._sides():
            side.transport.close()

    def _sides(self) -> list[_Side]:
        return [self._upstream] if self._client is None else [self._upstream, self._client]


class _Side(asyncio.Protocol):
    """One end: reads for the other.

    Attributes:
        transport: Its connection.
        other: The other end, once there is one.
        lost: Whether the connection has ended.

    """

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.lost = False
        self.other: _Side | None = None
        self._eof = False

    def data_received(self, data: bytes) -> None:
        other = cast("_Side", self.other)
        # After the tunnel's end TLS, whose transport reads on while it closes, still tells of what
        # its client says; that must neither be written nor give it more time.
        if not other.transport.is_closing():
            self._tunnel.touch()
            other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end on; the transport stays open for the other direction."""
        self._eof = True
        other = self.other
        # There may be none, or one that is closed, where TLS tells of a farewell while it closes.
        if other is None or other._eof or not other._can_end():
            self._tunnel.close()
            return False
        other.transport.write_eof()
        # TLS, which cannot end one side alone, warns of an answer that it cannot follow.
        return self.transport.can_write_eof()

    def _can_end(self) -> bool:
        return self.transport.can_write_eof() and not self.transport.is_closing()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's contract
        self.lost = True
        self._tunnel.lost()
