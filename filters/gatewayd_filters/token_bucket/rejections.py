"""Refused requests on their way to the store: counted per minute, route and caller.

Nothing here waits on the way of a request. What is counted is bounded, and written in batches by a
task of its own; what cannot be written is counted as lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gatewayd import Metrics

Row = tuple[int, str, str, int]
"""Minute of the Unix clock, route, caller, and how many requests were refused."""

FLUSH_SECONDS = 10.0
"""Between two writes: operators see refusals soon, and a busy node writes a handful of batches a
minute."""
_MAX_ROWS = 10_000
"""Minutes, routes and callers that are counted between two writes."""
_WRITE_SECONDS = 5.0
_CALLER = 255
"""Characters of a caller in the store; a key that combines several fields may have more."""
logger = logging.getLogger("gatewayd.filters.token_bucket")


class Rejections:
    """Counts refused requests of one worker.

    Args:
        write: Writes rows of minute (of the Unix clock), route, caller and count.
        metrics: Where lost ones are counted.
        now: Seconds of the Unix clock.

    """

    def __init__(
        self,
        write: Callable[[Sequence[Row]], Awaitable[None]],
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write = write
        self._now = now
        self._counts: dict[tuple[int, str, str], int] = {}
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._lost = metrics.counter(
            "gatewayd_rate_limit_lost_records",
            "Refused requests that are not in the store: it was away, or there were too many.",
        ).labels()

    def add(self, route: str, caller: str) -> None:
        """Count one."""
        if len(caller) > _CALLER:
            caller = _shortened(caller)
        key = (int(self._now() // 60), route, caller)
        count = self._counts.get(key)
        if count is None and len(self._counts) >= _MAX_ROWS:
            self._lost.value += 1
        else:
            self._counts[key] = (count or 0) + 1

    async def start(self) -> None:
        """Begin to write; safe to call again."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="gatewayd rate limit records")

    async def close(self) -> None:
        """Write what is left, then stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what has been counted; it is lost, and counted so, where that fails."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        written = False
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._write([(*key, count) for key, count in counts.items()])
            written = True
            self._failing = False
        except Exception:
            if not self._failing:  # an outage is told of once
                logger.warning("refused requests cannot be written to the store", exc_info=True)
            self._failing = True
        finally:
            if not written:
                self._lost.value += sum(counts.values())


def _shortened(caller: str) -> str:
    """Return the beginning of a caller's key and the hash of it all."""
    digest = blake2b(caller.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{caller[: _CALLER - 1 - len(digest)]}#{digest}"
