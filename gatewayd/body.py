"""Message bodies: a stream of bytes with back-pressure, never buffered because of its size.

A body is either ``bytes``, when all of it has already arrived, or a :class:`Body` that is read
piece by piece. Connections feed a :class:`StreamBody`; filters that transform a body subclass
:class:`Body` around the one that they got.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from gatewayd.headers import Headers

# Bytes that may wait in one body before its source is paused. Small, because it is paid per slow
# reader: thirty of them at 1 MB cost 90 MB (measured). The source may exceed it by one read.
HIGH_WATER = 65536


class Body:
    """A stream of bytes that is read once.

    Attributes:
        length: Bytes in all, where the sender has declared it; else ``None``.
        trailers: Trailer fields, set when the end was read and the sender had sent some.

    """

    __slots__ = ("length", "trailers")

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.trailers: Headers | None = None

    @property
    def resumable(self) -> bool:
        """Whether a read that was cancelled has lost nothing: the next one takes its place."""
        return False

    async def read(self) -> bytes:
        """Return the next piece, or ``b""`` at the end.

        Raises:
            Exception: what ended the stream early; it was not the whole body.

        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Abandon what has not been read; the source is released. Safe to call twice."""
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece


class NoBody(Body):
    """The body of a message that has none but may declare a length: answers to HEAD, and 304."""

    __slots__ = ()

    async def read(self) -> bytes:
        """Return ``b""``."""
        return b""

    async def aclose(self) -> None:
        """Do nothing: there is no source."""


class IterBody(Body):
    """A body from an async generator of bytes, for filters that make their own.

    Args:
        source: Yields the pieces.
        length: Bytes in all, where known.
        wraps: The body that ``source`` reads from, if any; closed with this one. (A generator that
            never started cannot do it: its ``finally`` blocks do not run.)

    Pieces may be asked for by one task after the other, so a time-out must not span a ``yield``.
    """

    __slots__ = ("_broken", "_ended", "_source", "_wraps")

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        length: int | None = None,
        *,
        wraps: Body | None = None,
    ) -> None:
        super().__init__(length)
        self._source = source
        self._wraps = wraps
        self._ended = False
        self._broken: Exception | None = None

    async def read(self) -> bytes:
        """Return the next piece that is not empty, or ``b""`` at the end.

        Raises:
            BodyClosedError: a read was cancelled, which has ended the generator, or it was closed.
            Exception: what the generator has raised, on every further read as well.

        """
        # A generator that was broken off looks like one that has come to its end.
        if self._broken is not None:
            raise self._broken
        try:
            async for piece in self._source:
                if piece:
                    return piece
        except Exception as error:
            self._broken = error
            raise
        except BaseException:
            self._broken = BodyClosedError("a read was broken off")
            raise
        self._ended = True
        return b""

    async def aclose(self) -> None:
        """Close the generator, which runs its ``finally`` blocks, and the wrapped body."""
        if self._broken is None and not self._ended:
            self._broken = BodyClosedError("the body was abandoned by its reader")
        try:
            await self._source.aclose()
        finally:
            if self._wraps is not None:
                await self._wraps.aclose()


class StreamBody(Body):
    """A body that a connection feeds and one reader reads.

    Args:
        pause, resume:
            Called when more than ``HIGH_WATER`` bytes wait, and when they have been read or the
            source has delivered everything; neither is called after that.
        on_close:
            Called once if the reader abandons the body before its end.
        on_read:
            Called once before the first read waits: the moment to ask for ``100 Continue``.

    Attributes:
        on_end: Is called when the source has delivered everything, with ``None``, or failed, with
            the error; not when the reader abandons the body.

    """

    __slots__ = (
        "_buffered",
        "_ended",
        "_error",
        "_on_close",
        "_on_read",
        "_pause",
        "_paused",
        "_resume",
        "_waiter",
        "_waiting",
        "on_end",
    )  # fmt: skip

    def __init__(
        self,
        length: int | None,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
        on_close: Callable[[], None] | None = None,
        on_read: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(length)
        self._waiting: deque[bytes] = deque()
        self._buffered = 0
        self._ended = False
        self._error: BaseException | None = None
        self._paused = False
        self._pause = pause
        self._resume = resume
        self._on_close = on_close
        self._on_read = on_read
        self.on_end: Callable[[BaseException | None], None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def resumable(self) -> bool:
        """See :attr:`Body.resumable`: a piece is taken only when the read returns."""
        return True

    @property
    def ended(self) -> bool:
        """Whether the source has delivered everything, read or not."""
        return self._ended

    @property
    def ready(self) -> bool:
        """Whether :meth:`read` returns (or raises) without waiting."""
        return bool(self._waiting) or self._ended or self._error is not None

    def feed(self, piece: bytes) -> None:
        """Take a piece from the source."""
        if self._error is not None:
            return
        self._waiting.append(piece)
        self._buffered += len(piece)
        if self._buffered > HIGH_WATER and not self._paused:
            self._paused = True
            self._pause()
        self._wake()

    def feed_end(self, trailers: Headers | None = None) -> None:
        """Take the end of the body from the source."""
        self.trailers = trailers
        self._ended = True
        if self._paused:
            # Nothing is left to hold back. Later the source serves somebody else, whom a slow
            # reader of this body would let go on.
            self._unpause()
        if self.on_end is not None:
            self.on_end(None)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """End the body early: what waits unread is dropped, and reading raises ``error``."""
        if self._ended or self._error is not None:
            return
        self._error = error
        if self.on_end is not None:
            self.on_end(error)
        self._drop()
        self._wake()

    async def read(self) -> bytes:
        """Return the next piece, or ``b""`` at the end; see :meth:`Body.read`."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            if self._on_read is not None:
                on_read, self._on_read = self._on_read, None
                on_read()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        # All that waits, as one piece: one write instead of many where the pieces are small.
        whole = self._waiting.popleft() if len(self._waiting) == 1 else b"".join(self._waiting)
        self._drop()
        return whole

    def take_all(self) -> bytes | None:
        """Return the whole body at once if it has already arrived, without waiting."""
        if not self._ended or self._error is not None or self.trailers is not None:
            return None
        whole = b"".join(self._waiting)
        self._drop()
        return whole

    async def aclose(self) -> None:
        """See :meth:`Body.aclose`."""
        self.close()

    def close(self) -> None:
        """Abandon what has not been read; the source is told unless it has delivered everything."""
        if self._error is not None or (self._ended and not self._waiting):
            return
        self._drop()
        self._error = BodyClosedError("the body was abandoned by its reader")
        if self._ended:
            return  # whoever reads on must not take this for the end, but no source is left
        self._wake()
        if self._on_close is not None:
            self._on_close()

    def _drop(self) -> None:
        self._waiting.clear()
        self._buffered = 0
        if self._paused:
            self._unpause()

    def _unpause(self) -> None:
        self._paused = False
        self._resume()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class BodyClosedError(Exception):
    """The body was read after it had been closed."""
