"""How far the Unix clock can be believed where something is to be deleted."""

from __future__ import annotations

import time

# Between the Unix clock and the one that nobody sets, as it was when the process started.
_OFFSET = time.time_ns() - time.monotonic_ns()
_MINUTE = 60_000_000


def set_ahead() -> int:
    """Return by how many microseconds the Unix clock was set ahead since the process started.

    Rows do not grow older by it, be it by mistake or not: what is deleted is gone, and what is
    deleted late is not missed. Less than a minute is 0: so clocks are adjusted all the time.
    """
    ahead = (time.time_ns() - time.monotonic_ns() - _OFFSET) // 1000
    return ahead if ahead >= _MINUTE else 0
