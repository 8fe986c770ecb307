"""How many retries there may be, so that an outage is not multiplied.

With three attempts each, clients of a service that is down would send it three times its load just
when it is weakest. A budget allows retries as a share of the requests of the last ten seconds, plus
a few per second for services with little traffic (Finagle's ``RetryBudget`` does the same).

The allowance fades exponentially instead of ending sharply, so two numbers hold what a window would
need a list for. Requests are only counted; all else is computed when somebody wants to retry.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 10.0  # in which unused allowance fades to 1/e of itself; Finagle's ttl


class RetryBudget:
    """Allows retries as a share of requests; shared by all callers of one service.

    Args:
        share: Retries per request, 0.2 for 20 %.
        floor: Retries per second that are allowed in any case.
        clock: Returns monotonic seconds.

    Attributes:
        requests: Requests so far. Whoever starts one adds 1.

    """

    __slots__ = ("_allowance", "_clock", "_floor", "_seen", "_share", "_updated_at", "requests")

    def __init__(
        self, share: float = 0.2, floor: float = 3.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.requests = 0
        self._share = share
        self._floor = floor
        self._clock = clock
        self._allowance = floor * _SECONDS
        self._seen = 0
        self._updated_at = clock()

    @property
    def allowance(self) -> float:
        """How many retries would be allowed at once now."""
        self._update()
        return self._allowance

    def take(self) -> bool:
        """Take one retry from the budget; returns whether there was one."""
        self._update()
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def _update(self) -> None:
        """Let the allowance fade, and add what has been earned since the last look.

        The requests since then are taken to have come evenly, so what they earned has faded by the
        integral of ``exp(-t / _SECONDS)`` over the time that has passed.
        """
        now = self._clock()
        passed = now - self._updated_at
        earned = (self.requests - self._seen) * self._share
        self._seen, self._updated_at = self.requests, now
        if passed <= 0.0:
            self._allowance += earned
            return
        faded = math.exp(-passed / _SECONDS)
        rate = earned / passed + self._floor
        self._allowance = self._allowance * faded + rate * _SECONDS * (1.0 - faded)

    def __repr__(self) -> str:
        return f"<retry budget: {self._share:.0%} of requests, {self._floor:g}/s at least>"
