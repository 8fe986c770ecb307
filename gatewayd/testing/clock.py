"""Time that stands still until a test moves it."""

from __future__ import annotations


class FakeClock:
    """A monotonic clock for tests.

    Args:
        now: Seconds that it starts at.

    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
