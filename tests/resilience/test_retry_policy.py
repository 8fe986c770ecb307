from __future__ import annotations

import asyncio

import pytest

from gatewayd import Backoff, RetryBudget, RetryPolicy
from gatewayd.testing import FakeClock

AT_ONCE = Backoff(base=0.0, max=0.0)
FIXED = Backoff(base=0.5, max=2.0, jitter="none")


@pytest.mark.parametrize(
    ("made", "arguments", "seconds"),
    [
        (1, {}, 0.5),
        (2, {}, 1.0),
        (3, {}, None),  # no attempt is left
        (1, {"left": 0.4}, None),  # too late by then
        (1, {"left": 0.5}, None),
        (1, {"left": 0.6}, 0.5),
        (1, {"asked": 0.8}, 0.8),
        (1, {"asked": 0.1}, 0.5),
        (1, {"asked": 1.0}, 1.0),
        (1, {"asked": 1.1}, None),  # longer than it may ask for
    ],
)
def test_wait(made: int, arguments: dict[str, float], seconds: float | None) -> None:
    assert RetryPolicy(backoff=FIXED).wait(made, **arguments) == seconds


def test_a_retry_costs_budget_and_none_costs_nothing() -> None:
    budget = RetryBudget(share=0.0, floor=0.1, clock=FakeClock())
    policy = RetryPolicy(backoff=FIXED, budget=budget)
    assert policy.wait(3) is None
    assert policy.wait(1, left=0.1) is None
    assert policy.wait(1) == 0.5
    assert policy.wait(1) is None


class Flaky:
    """Fails a number of times, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def test_call_tries_until_it_succeeds() -> None:
    flaky = Flaky(OSError("first"), OSError("second"))
    assert await RetryPolicy(backoff=AT_ONCE).call(flaky, on=(OSError,)) == "done"
    assert flaky.calls == 3


async def test_call_gives_up_with_the_last_error() -> None:
    flaky = Flaky(*(OSError(str(number)) for number in range(1, 5)))
    with pytest.raises(OSError, match="3"):
        await RetryPolicy(backoff=AT_ONCE).call(flaky, on=(OSError,))


async def test_call_lets_other_errors_through() -> None:
    flaky = Flaky(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await RetryPolicy(backoff=AT_ONCE).call(flaky, on=(OSError,))
    assert flaky.calls == 1


async def test_call_bounds_each_attempt() -> None:
    calls = 0

    async def hang() -> None:
        nonlocal calls
        calls += 1
        await asyncio.Event().wait()

    policy = RetryPolicy(attempts=2, backoff=AT_ONCE)
    with pytest.raises(TimeoutError):
        await policy.call(hang, on=(TimeoutError,), per_try=0.01)
    assert calls == 2


async def test_call_bounds_everything() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await RetryPolicy(attempts=10, backoff=AT_ONCE).call(hang, on=(TimeoutError,), within=0.02)


async def test_call_counts_in_the_budget() -> None:
    budget = RetryBudget(share=0.5, floor=0.0, clock=FakeClock())
    policy = RetryPolicy(backoff=AT_ONCE, budget=budget)
    assert await policy.call(Flaky(), on=(OSError,)) == "done"
    assert await policy.call(Flaky(OSError()), on=(OSError,)) == "done"
    assert budget.allowance == pytest.approx(0.0)
    flaky = Flaky(OSError("no retry left"))
    with pytest.raises(OSError, match="no retry left"):
        await policy.call(flaky, on=(OSError,))


async def test_call_does_not_wait_for_an_attempt_that_would_come_too_late() -> None:
    flaky = Flaky(OSError("first"))
    with pytest.raises(OSError, match="first"):
        await RetryPolicy(backoff=FIXED).call(flaky, on=(OSError,), within=0.4)
    assert flaky.calls == 1
