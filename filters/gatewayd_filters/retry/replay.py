"""Keep what was read of a request body, so that another attempt can read it again."""

from __future__ import annotations

import asyncio

from gatewayd import Body


class Replay:
    """A streamed request body that several attempts read, one after the other.

    Args:
        source: The body as it comes from the client.
        limit: Bytes to keep; once more were read, nothing is kept and nobody can start over.

    """

    __slots__ = ("_kept", "_left", "_lock", "_reading", "source")

    def __init__(self, source: Body, limit: int) -> None:
        self.source = source
        self._kept: list[bytes] | None = []
        self._left = limit
        self._lock = asyncio.Lock()
        self._reading: asyncio.Task[bytes] | None = None  # a read of the source

    @property
    def possible(self) -> bool:
        """Whether another attempt can read the body from its start."""
        return self._kept is not None

    def body(self) -> Body:
        """Return the body for one attempt, from its start; only while :attr:`possible`."""
        return _ReplayedBody(self)

    async def piece(self, index: int) -> bytes:
        """Return the piece at this position; the next one of the source where it is not kept."""
        # A failed attempt's reader may still be on its way out of the source when the next begins.
        async with self._lock:
            if self._kept is not None and index < len(self._kept):
                return self._kept[index]
            piece = await self._read()
            self._left -= len(piece)
            if self._left < 0:
                self._kept = None
            elif piece and self._kept is not None:
                self._kept.append(piece)
            return piece

    async def _read(self) -> bytes:
        """Read the next piece of the source; a reader that is cancelled leaves it to the next."""
        if self._kept is None or self.source.resumable:
            return await self.source.read()
        if self._reading is None:
            self._reading = asyncio.create_task(self.source.read(), name="gatewayd retry body")
        piece = await asyncio.shield(self._reading)
        self._reading = None
        return piece

    def stop(self) -> None:
        """Stop a read that no reader waits for any more; nobody reads on."""
        if self._reading is not None:
            self._reading.cancel()

    async def aclose(self) -> None:
        """Abandon the source, so that there is no next attempt."""
        self.stop()
        if self._reading is not None:
            await asyncio.wait({self._reading})
        await self.source.aclose()


class _ReplayedBody(Body):
    """What one attempt reads."""

    __slots__ = ("_index", "_replay")

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay.source.length)
        self._replay = replay
        self._index = 0

    async def read(self) -> bytes:
        """See :meth:`gatewayd.Body.read`."""
        piece = await self._replay.piece(self._index)
        self._index += 1
        self.trailers = self._replay.source.trailers
        return piece

    async def aclose(self) -> None:
        """See :meth:`gatewayd.Body.aclose`: abandons the source, so there is no next attempt."""
        await self._replay.aclose()
