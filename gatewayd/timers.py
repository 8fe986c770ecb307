"""Deadlines without a timer per request: one coarse sweep per worker.

A timer of the event loop costs about 1 us to set and cancel, and a request would need half a dozen
(head, connect, first byte, between bytes, total, idle). Here a deadline is an attribute; one
callback every ``interval`` looks at whatever is armed. A deadline is met late by up to one
interval, which suits time-outs of a tenth of a second and more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Clock: TypeAlias = "Callable[[], float]"
"""Returns monotonic seconds."""

NEVER = float("inf")
logger = logging.getLogger("gatewayd.timers")


class Expiring(Protocol):
    """What a sweeper watches."""

    expires_at: float
    """When :meth:`expire` is due, in the sweeper's clock; ``NEVER`` while nothing is due."""

    def expire(self, now: float) -> None:
        """Act on the deadline that has passed, and set the next one or ``NEVER``."""


class Sweeper:
    """Calls ``expire`` on everything whose deadline has passed.

    Args:
        interval: Seconds between sweeps; how late a deadline may be met.
        clock: Monotonic clock; the system's where absent. (The running loop's counts milliseconds
            under uvloop, which is too coarse for what is measured with it.)

    """

    def __init__(self, interval: float = 0.05, clock: Clock | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval = interval
        self.clock = time.monotonic if clock is None else clock
        self._watched: set[Expiring] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._closed = False

    def watch(self, item: Expiring) -> None:
        """Look at ``item`` in every sweep until :meth:`forget`."""
        self._watched.add(item)
        if self._handle is None and not self._closed:
            self._handle = self._loop.call_later(self._interval, self._sweep)

    def forget(self, item: Expiring) -> None:
        """Stop looking at ``item``; no error if it is not watched."""
        self._watched.discard(item)

    def close(self) -> None:
        """Sweep no more."""
        self._closed = True
        self._watched.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _sweep(self) -> None:
        now = self.clock()
        # Collected first: expire() may watch or forget.
        for item in [item for item in self._watched if item.expires_at <= now]:
            try:
                item.expire(now)
            except Exception:
                # One faulty item must not stop the time-outs of all others.
                logger.exception("expiring %r failed", item)
        self._handle = (
            self._loop.call_later(self._interval, self._sweep)
            if self._watched and not self._closed
            else None
        )

    def __len__(self) -> int:
        return len(self._watched)
