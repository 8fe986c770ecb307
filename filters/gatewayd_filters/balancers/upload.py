"""When a streamed request body was there: until then its client is waited for, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd import Body

if TYPE_CHECKING:
    from collections.abc import Callable


class Upload(Body):
    """A request body that notes when it was read to its end.

    Args:
        source: The body as it comes.
        clock: The gateway's clock.

    Attributes:
        ended_at: When its end was read, on that clock; ``None`` before.

    """

    __slots__ = ("_clock", "_source", "ended_at")

    def __init__(self, source: Body, clock: Callable[[], float]) -> None:
        super().__init__(source.length)
        self._source = source
        self._clock = clock
        self.ended_at: float | None = None

    @property
    def resumable(self) -> bool:
        """See :attr:`gatewayd.Body.resumable`."""
        return self._source.resumable

    async def read(self) -> bytes:
        """See :meth:`gatewayd.Body.read`."""
        piece = await self._source.read()
        if not piece:
            self.trailers = self._source.trailers
            self.ended_at = self._clock()
        return piece

    async def aclose(self) -> None:
        """See :meth:`gatewayd.Body.aclose`."""
        await self._source.aclose()
