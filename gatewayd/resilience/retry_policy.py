"""Whether and when to try again: the decision behind the ``retry`` filter, for any plugin's calls.

::

    policy = RetryPolicy(attempts=3, budget=RetryBudget())
    keys = await policy.call(fetch_keys, on=(OSError, TimeoutError), within=2.0)
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from gatewayd.resilience.backoff import Backoff
from gatewayd.timers import NEVER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.resilience.budget import RetryBudget

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, after which wait, and at what cost to try again.

    Attributes:
        attempts: Attempts in all, the first one included.
        backoff: Waits between them.
        budget: Bounds the retries of all callers together; none where absent.
        retry_after: Longest wait in seconds that the other side may ask for. If it asks for more,
            there is no retry.

    """

    attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    budget: RetryBudget | None = None
    retry_after: float = 1.0

    def wait(self, made: int, *, left: float = NEVER, asked: float = 0.0) -> float | None:
        """Return the seconds to wait before the next attempt; ``None`` if there is to be none.

        Takes one retry from the budget if there is one.

        Args:
            made: Attempts made so far.
            left: Seconds until the result is of no use any more.
            asked: Seconds that the other side asked to be left alone (``Retry-After``).

        """
        if made >= self.attempts or asked > self.retry_after:
            return None
        seconds = max(asked, self.backoff.wait(made))
        if seconds >= left or (self.budget is not None and not self.budget.take()):
            return None
        return seconds

    async def call(
        self,
        function: Callable[[], Awaitable[T]],
        *,
        on: tuple[type[Exception], ...],
        within: float | None = None,
        per_try: float | None = None,
    ) -> T:
        """Await ``function()`` until it succeeds or the policy gives up.

        Args:
            function: Starts one attempt. It may run several times: it must be safe to repeat.
            on: Exceptions after which to try again.
            within: Seconds for everything, waits included.
            per_try: Seconds for one attempt.

        Raises:
            TimeoutError: the last attempt took longer than it was allowed.
            Exception: what the last attempt raised.

        """
        end = NEVER if within is None else time.monotonic() + within
        if self.budget is not None:
            self.budget.requests += 1
        made = 0
        while True:
            left = end - time.monotonic()
            limit = left if per_try is None else min(left, per_try)
            try:
                async with asyncio.timeout(None if limit == NEVER else limit):
                    return await function()
            except on:
                made += 1
                seconds = self.wait(made, left=end - time.monotonic())
                if seconds is None:
                    raise
            await asyncio.sleep(seconds)
