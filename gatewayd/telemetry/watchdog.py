"""Watches the event loop: how late it is, and what has stopped it.

The loop notes that it is alive; a thread looks at the note. While the loop is stopped by something
that does not return, such as a plugin that waits for a socket the old way, only a thread can say by
what: it logs the stack of the loop's thread and names the filter in it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from gatewayd.filter import Filter

if TYPE_CHECKING:
    from types import FrameType

    from gatewayd.telemetry.metrics import Metrics

_BEAT_SECONDS = 0.1
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_MOST_FRAMES = 30
logger = logging.getLogger("gatewayd.watchdog")


class Watchdog:
    """Measures how late the running event loop is, and tells what stops it.

    Args:
        metrics: Where that is counted.
        seconds: For how long the loop may do one thing before that is a stall.

    Attributes:
        seconds: The same; may be changed.

    """

    def __init__(self, metrics: Metrics, seconds: float) -> None:
        self.seconds = seconds
        self._late = metrics.histogram(
            "gatewayd_event_loop_lag_seconds",
            "How late the event loop was for a timer, ten times a second.",
            bounds=_BOUNDS,
        ).labels()
        self._stalls = metrics.counter(
            "gatewayd_event_loop_stalls",
            "How often the event loop was stopped, by the filter that did it.",
            ("filter",),
            max_cells=256,
        )
        self._beat = time.monotonic()
        self._stop = threading.Event()
        self._loop_thread = threading.get_ident()
        self._task = asyncio.create_task(self._run_beats(), name="watchdog")
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    async def _run_beats(self) -> None:
        while True:
            due = time.monotonic() + _BEAT_SECONDS
            await asyncio.sleep(_BEAT_SECONDS)
            self._beat = time.monotonic()
            self._late.observe(max(0.0, self._beat - due))

    def _watch(self) -> None:
        told = 0.0
        while not self._stop.wait(min(_BEAT_SECONDS, self.seconds)):
            beat = self._beat
            stalled = time.monotonic() - beat - _BEAT_SECONDS
            if stalled >= self.seconds and beat != told:
                told = beat  # once for each stall
                self._tell(stalled)

    def _tell(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None or self._stop.is_set():
            return
        name = filter_of(frame)
        self._stalls.labels(name or "none").value += 1
        stack = "".join(traceback.format_stack(frame, _MOST_FRAMES))
        what = f"filter {name}" if name else "no filter"
        logger.warning("the event loop stands still since %.2f s, in %s:\n%s", seconds, what, stack)

    async def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._task.cancel()
        await asyncio.wait([self._task])
        await asyncio.to_thread(self._thread.join, 1.0)


def filter_of(frame: FrameType | None) -> str:
    """Return the name of the innermost filter in a stack, empty where there is none."""
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Filter):
            return owner.name
        frame = frame.f_back
    return ""
