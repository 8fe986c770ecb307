"""The circuit breaker as a library: around any call that may fail, in a filter or a plugin.

::

    breaker = Breaker("user directory", BreakerPolicy(consecutive_failures=3))

    async with breaker:             # raises BreakerOpen at once while the breaker is open
        user = await fetch_user()

    @breaker                        # the same around every call of a coroutine function
    async def fetch_user() -> User: ...

An exception that leaves the block is a failure, a cancellation says nothing. What else says
nothing, such as an error of the caller, is up to ``is_failure``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from gatewayd.errors import BreakerOpen
from gatewayd.resilience.breaker_state import BreakerMachine, BreakerPolicy, BreakerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gatewayd.timers import Clock

P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger("gatewayd.breaker")


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A breaker changed its state.

    Attributes:
        name: Name of the breaker.
        before: The state until now.
        after: The state from now on.

    """

    name: str
    before: BreakerState
    after: BreakerState


BreakerListener: TypeAlias = Callable[[BreakerChange], None]


def _any_exception(error: Exception) -> bool:  # noqa: ARG001  # all of them
    return True


class Breaker:
    """A circuit breaker that many tasks share.

    Args:
        name: What it stands in front of, for logs and metrics.
        policy: When it opens, and how it recovers.
        clock: Returns monotonic seconds.
        is_failure: Whether an exception is a failure of what is called; if not, it says nothing.
        on_change: Are told of every change of the state, at once; they must neither block nor
            raise. The ``events.publish`` of a gateway is one.

    Attributes:
        name: Its name.

    """

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy = BreakerPolicy(),  # noqa: B008  # immutable
        *,
        clock: Clock = time.monotonic,
        is_failure: Callable[[Exception], bool] = _any_exception,
        on_change: Sequence[BreakerListener] = (),
    ) -> None:
        self.name = name
        self._clock = clock
        self._is_failure = is_failure
        self._on_change = on_change
        self._machine = BreakerMachine(policy, self._changed)
        self._entered: dict[asyncio.Task[object] | None, list[tuple[int, float]]] = {}
        # Not methods of ours, as they are called for every exchange.
        self.record = self._machine.record
        self.release = self._machine.release
        self.give_up = self._machine.give_up
        self.retry_after = self._machine.retry_after

    @property
    def state(self) -> BreakerState:
        """The present state."""
        return self._machine.state

    def admit(self, now: float) -> int:
        """Return a permit for one call, to be given back to ``record``, ``release`` or ``give_up``.

        Those are :meth:`BreakerMachine.record` and so on: what is below ``async with``, for calls
        that are counted in another way.

        Raises:
            BreakerOpen: it is open, or half-open with enough probes under way.

        """
        permit = self._machine.admit(now)
        if not permit:
            raise BreakerOpen(self._machine.retry_after(now))
        return permit

    def reset(self) -> None:
        """Close it, and forget what it has counted."""
        self._machine.reset()

    def reopen(self, seconds: float) -> None:
        """Open it for so many seconds, as one that was open when its process ended."""
        self._machine.reopen(self._clock() + seconds)

    async def __aenter__(self) -> None:
        """Enter before a call.

        Raises:
            BreakerOpen: see :meth:`admit`.

        """
        now = self._clock()
        permit = self.admit(now)
        self._entered.setdefault(asyncio.current_task(), []).append((permit, now))

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Leave after the call, in the task that entered."""
        task = asyncio.current_task()
        stack = self._entered[task]
        permit, started = stack.pop()
        if not stack:
            del self._entered[task]
        now = self._clock()
        if error is None or (isinstance(error, Exception) and self._is_failure(error)):
            self.record(permit, error is not None, now - started, now)
        else:
            self.release(permit)

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Wrap a coroutine function, so that every call of it goes through this breaker."""

        @functools.wraps(function)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self:
                return await function(*args, **kwargs)

        return guarded

    def _changed(self, before: BreakerState, after: BreakerState) -> None:
        level = logging.WARNING if after is BreakerState.OPEN else logging.INFO
        logger.log(level, "breaker of %s: %s, was %s", self.name, after.value, before.value)
        change = BreakerChange(self.name, before, after)
        for listener in self._on_change:
            listener(change)

    def __repr__(self) -> str:
        return f"<breaker of {self.name}: {self.state.value}>"
