"""The state machine of a circuit breaker: no I/O, and no clock of its own.

::

                 too many failures                 open_for is over, and a call comes
      closed ------------------------> open -----------------------------------> half-open
        ^                               ^                                          |   |
        |                               +------------------------------------------+   |
        |                                            a probe failed                    |
        +------------------------------------------------------------------------------+
                              half_open_requests probes in a row succeeded

Whoever makes a call asks :meth:`BreakerMachine.admit` first, keeps the permit that it returns, and
gives it back once, with the outcome (:meth:`~BreakerMachine.record`) or without one
(:meth:`~BreakerMachine.release`). A permit is the number of the state's period in which it was
given: how a call ends that began in an earlier period says nothing about this one. So a slow
failure from before the breaker opened cannot spoil a recovery, and the machine needs no list of
the calls under way.

A probe may take long for reasons of its own, such as a client that sends slowly. So permits for
probes are only waited for during ``open_for``; after that others are given. It is another period of
the same recovery: how the probes of its earlier periods end still counts, whenever that is.

Time is handed in with every call, in seconds that never go back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayd.resilience.window import CountWindow, TimeWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.resilience.window import Window

REFUSED = 0
"""What :meth:`BreakerMachine.admit` returns instead of a permit."""


class BreakerState(enum.Enum):
    """The states of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# Members of an enumeration cost CPython 3.11 a call of Python code at each access.
_CLOSED, _OPEN, _HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and how it recovers.

    Attributes:
        window: Seconds over which calls are counted.
        window_requests: Count the last so many calls instead; 0 to count over time.
        min_requests: Calls in the window below which no ratio opens the breaker.
        failure_ratio: Share of failures that opens it; 0 for none.
        consecutive_failures: Failures in a row that open it; 0 for none.
        slow_after: Seconds from which on a call is slow; 0 where none is.
        slow_ratio: Share of slow calls that opens it.
        open_for: Seconds for which it stays open.
        half_open_requests: Probes that may be under way at once while it is half-open, and that
            must succeed in a row to close it. While they take longer than ``open_for``, as many
            more are let through each time that this is over.

    """

    window: float = 10.0
    window_requests: int = 0
    min_requests: int = 20
    failure_ratio: float = 0.5
    consecutive_failures: int = 0
    slow_after: float = 0.0
    slow_ratio: float = 0.5
    open_for: float = 5.0
    half_open_requests: int = 3

    def __post_init__(self) -> None:
        """Check what would make a breaker that never opens, or never closes.

        Raises:
            ValueError: the values make none that works.

        """
        if not (self.failure_ratio or self.consecutive_failures or self.slow_after):
            raise ValueError("nothing opens the breaker")
        if not (self.window > 0 and self.open_for > 0 and self.half_open_requests > 0):
            raise ValueError("window, open_for and half_open_requests are above 0")
        if 0 < self.window_requests < self.min_requests:
            raise ValueError("window_requests is below min_requests: no ratio ever counts")


class BreakerMachine:
    """The state of one breaker.

    Args:
        policy: When it opens, and how it recovers.
        changed: Is told the state before and after every change.

    Attributes:
        state: The present state. An open breaker becomes half-open when the first call after
            ``open_for`` comes.
        opens_at: When an open breaker lets the first probe through.

    """

    __slots__ = ("_changed", "_consecutive", "_first_period", "_period", "_policy", "_probes",
                 "_renews_at", "_slow_after", "_successes", "_window", "opens_at",
                 "state")  # fmt: skip

    def __init__(
        self,
        policy: BreakerPolicy,
        changed: Callable[[BreakerState, BreakerState], None] = lambda _before, _after: None,
    ) -> None:
        self.state = _CLOSED
        self.opens_at = 0.0
        self._policy = policy
        self._changed = changed
        self._slow_after = policy.slow_after or float("inf")
        self._period = self._first_period = 1  # of all, and of this recovery
        self._renews_at = 0.0  # when probes are let through though as many are under way
        self._begin()

    def _begin(self) -> None:
        policy = self._policy
        self._window: Window = (
            CountWindow(policy.window_requests)
            if policy.window_requests
            else TimeWindow(policy.window)
        )
        self._consecutive = 0  # failures since the last success
        self._probes = 0  # of this period under way
        self._successes = 0  # of probes

    def admit(self, now: float) -> int:
        """Return a permit for one call, or ``REFUSED``."""
        if self.state is _CLOSED:
            return self._period
        if self.state is _OPEN:
            if now < self.opens_at:
                return REFUSED
            self._change(_HALF_OPEN)
        # Probes that have succeeded count as well: no more of them than are needed.
        if self._probes + self._successes >= self._policy.half_open_requests:
            if now < self._renews_at:
                return REFUSED
            self._period += 1
            self._probes = 0
        if not self._probes:
            self._renews_at = now + self._policy.open_for
        self._probes += 1
        return self._period

    def record(self, permit: int, failed: bool, seconds: float, now: float) -> None:
        """Take back a permit with the outcome of its call.

        Args:
            permit: What :meth:`admit` returned.
            failed: Whether the call failed.
            seconds: How long it took.
            now: The time.

        """
        slow = seconds >= self._slow_after
        if self.state is _HALF_OPEN:
            self._record_probe(permit, failed or slow, now)
            return
        if permit != self._period:
            return
        self._window.add(failed, slow, now)
        if failed:
            self._consecutive += 1
        else:
            self._consecutive = 0
        if (failed or slow) and self._too_many():
            self._open(now)

    def release(self, permit: int) -> None:
        """Take back a permit whose call says nothing, such as one that was cancelled."""
        if permit == self._period and self.state is _HALF_OPEN:
            self._probes -= 1

    def give_up(self, permit: int, seconds: float, now: float) -> None:
        """Take back a permit whose call was cancelled; slow it was if it took so long already.

        Args:
            permit: What :meth:`admit` returned.
            seconds: How long it took.
            now: The time.

        """
        if seconds < self._slow_after:
            self.release(permit)
        elif self.state is _HALF_OPEN:
            self._record_probe(permit, True, now)
        elif permit == self._period:
            self._window.add(False, True, now)
            if self._too_many():
                self._open(now)

    def retry_after(self, now: float) -> float:
        """Return the seconds until a refused call may be tried again, as far as is known."""
        return max(0.0, self.opens_at - now)

    def _record_probe(self, permit: int, failed: bool, now: float) -> None:
        if permit < self._first_period:
            return
        self.release(permit)
        if failed:
            self._open(now)
            return
        self._successes += 1
        if self._successes >= self._policy.half_open_requests:
            self._change(_CLOSED)

    def _too_many(self) -> bool:
        policy, window = self._policy, self._window
        if policy.consecutive_failures and self._consecutive >= policy.consecutive_failures:
            return True
        if window.calls < policy.min_requests:
            return False
        if policy.failure_ratio and window.failures >= policy.failure_ratio * window.calls:
            return True
        return bool(policy.slow_after) and window.slow >= policy.slow_ratio * window.calls

    def reset(self) -> None:
        """Close, and count from the beginning."""
        if self.state is _CLOSED:
            self._begin()
        else:
            self._change(_CLOSED)

    def reopen(self, until: float) -> None:
        """Open it until then, whatever its state."""
        self.opens_at = until
        self._change(_OPEN)

    def _open(self, now: float) -> None:
        self.reopen(now + self._policy.open_for)

    def _change(self, state: BreakerState) -> None:
        before, self.state = self.state, state
        self._first_period = self._period = self._period + 1
        self._begin()
        self._changed(before, state)

    def __repr__(self) -> str:
        return f"<breaker machine: {self.state.value}>"
