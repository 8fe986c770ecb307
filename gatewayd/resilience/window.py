"""Counting the outcomes of the latest calls, in constant time and space.

Over time: the window is cut into slices, and moves on by whole slices, so that a call is forgotten
between nine and ten tenths of the window after it. By count: a ring of the outcomes.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

SLICES = 10


class Window(Protocol):
    """Counts of the latest calls.

    Attributes:
        calls: How many there were.
        failures: How many of them failed.
        slow: How many of them were slow.

    """

    calls: int
    failures: int
    slow: int

    def add(self, failed: bool, slow: bool, now: float) -> None:
        """Count one call that ended at ``now``, in seconds that never go back."""


class TimeWindow:
    """The calls of the last ``seconds``; see :class:`Window`."""

    __slots__ = ("_slices", "_until", "_width", "calls", "failures", "slow")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / SLICES
        self._until = float("-inf")  # when the newest slice ends
        self._slices: deque[list[int]] = deque(maxlen=SLICES)
        self.calls = self.failures = self.slow = 0

    def add(self, failed: bool, slow: bool, now: float) -> None:
        """See :meth:`Window.add`."""
        if now >= self._until:
            self._move_on(now)
        newest = self._slices[-1]
        newest[0] += 1
        self.calls += 1
        if failed:
            newest[1] += 1
            self.failures += 1
        if slow:
            newest[2] += 1
            self.slow += 1

    def _move_on(self, now: float) -> None:
        if now - self._until >= SLICES * self._width:
            # Nothing is left; and so it is with the first call.
            self._slices.clear()
            self.calls = self.failures = self.slow = 0
            self._until = now
        for _ in range(int((now - self._until) / self._width) + 1):
            if len(self._slices) == SLICES:
                calls, failures, slow = self._slices[0]
                self.calls -= calls
                self.failures -= failures
                self.slow -= slow
            self._slices.append([0, 0, 0])
            self._until += self._width


class CountWindow:
    """The last ``size`` calls; see :class:`Window`."""

    __slots__ = ("_outcomes", "calls", "failures", "slow")

    def __init__(self, size: int) -> None:
        self._outcomes: deque[tuple[bool, bool]] = deque(maxlen=size)
        self.calls = self.failures = self.slow = 0

    def add(self, failed: bool, slow: bool, now: float) -> None:  # noqa: ARG002  # as in Window
        """See :meth:`Window.add`."""
        outcomes = self._outcomes
        if self.calls == outcomes.maxlen:
            forgotten_failed, forgotten_slow = outcomes[0]
            self.failures -= forgotten_failed
            self.slow -= forgotten_slow
        else:
            self.calls += 1
        outcomes.append((failed, slow))
        self.failures += failed
        self.slow += slow
