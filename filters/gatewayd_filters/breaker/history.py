"""Transitions of breakers in the store, so that a node that starts again knows what had failed.

Written in batches by a task, never on an exchange's time; read once, before the first exchange. All
workers of a node write as one: what one of them has left alone, each of them leaves alone after a
restart.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from typing import TYPE_CHECKING

from gatewayd import BreakerState, BreakerTransition

if TYPE_CHECKING:
    from gatewayd import BreakerChange, Metrics, Store

INTERVAL = 1.0
"""Seconds between two writes."""
MAX_WAITING = 10_000
"""Transitions that wait while the store is away; older ones are dropped, as newer ones say more."""
MAX_BATCH = 500
KEPT_DAYS = 30
"""Days after which transitions are deleted."""
_START_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_PURGE_SECONDS = 3600.0

logger = logging.getLogger("gatewayd.filters.breaker")


class History:
    """What breakers of this node did.

    Args:
        store: Where it is written.
        metrics: Where dropped transitions are counted.
        present: The histories that are being written; this one is in it from its start to its
            close. Breakers tell these, as they outlive a reload that changes the store.

    """

    def __init__(self, store: Store, metrics: Metrics, present: list[History]) -> None:
        self._store = store
        self._present = present
        self._node = socket.gethostname()[:128]
        self._waiting: deque[BreakerTransition] = deque()
        self._dropped = metrics.counter(
            "gatewayd_breaker_history_dropped", "Transitions that were not written to the store."
        ).labels()
        self._open_until: dict[tuple[str, str], float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read how breakers were left, and begin to write; safe to call again."""
        if self._task is not None:
            return
        self._task = asyncio.create_task(self._run(), name="gatewayd breaker history")
        self._present.append(self)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._store.start()
                latest = await self._store.breaker_states.latest(self._node)
        except Exception as error:
            # All breakers begin closed then, as they do without a history.
            logger.warning("the history of breakers cannot be read: %r", error)
            return
        self._open_until = {
            (one.service, one.instance): one.until / 1e6
            for one in latest
            if one.state == BreakerState.OPEN.value and one.until is not None
        }

    def seconds_left(self, service: str, instance: str) -> float:
        """Return for how long a breaker that is made now stays open; 0 where it does not."""
        until = self._open_until.pop((service, instance), 0.0)
        return max(0.0, until - time.time())

    def note(self, service: str, instance: str, change: BreakerChange, open_for: float) -> None:
        """Take one transition."""
        now = time.time_ns() // 1000
        until = now + int(open_for * 1e6) if change.after is BreakerState.OPEN else None
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._dropped.value += 1
        self._waiting.append(
            BreakerTransition(self._node, service, instance, change.after.value, now, until)
        )

    async def _run(self) -> None:
        purge_at = time.monotonic()
        while True:
            await asyncio.sleep(INTERVAL)
            await self.flush()
            if time.monotonic() >= purge_at:
                purge_at = time.monotonic() + _PURGE_SECONDS
                await self._purge()

    async def flush(self) -> bool:
        """Write a batch, and return whether one was written; what cannot be written waits."""
        batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
        if not batch:
            return False
        try:
            await self._store.breaker_states.record(batch)
        except BaseException as error:
            self._waiting.extendleft(reversed(batch))
            if not isinstance(error, Exception):
                raise
            logger.debug("the history of breakers waits: %r", error)
            return False
        return True

    async def _purge(self) -> None:
        before = time.time_ns() // 1000 - KEPT_DAYS * 86_400_000_000
        try:
            await self._store.breaker_states.purge(before)
        except Exception as error:
            logger.debug("the history of breakers is not purged: %r", error)

    async def close(self) -> None:
        """Write what waits, within a bound, and stop."""
        if self._task is None:
            return
        self._present.remove(self)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while await self.flush():
                    pass
        except TimeoutError:
            logger.warning("the store does not take the last transitions of breakers in time")
        self._dropped.value += len(self._waiting)
