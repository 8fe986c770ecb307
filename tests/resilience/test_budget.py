from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import RetryBudget
from gatewayd.testing import FakeClock


def drain(budget: RetryBudget) -> int:
    """Take all retries that are there."""
    taken = 0
    while budget.take():
        taken += 1
    return taken


def test_allows_a_share_of_the_requests() -> None:
    budget = RetryBudget(share=0.2, floor=0.0, clock=FakeClock())
    budget.requests += 100
    assert drain(budget) == 20


def test_a_service_without_traffic_has_the_floor_of_ten_seconds() -> None:
    assert drain(RetryBudget(floor=3.0, clock=FakeClock())) == 30


def test_the_floor_comes_back_with_time() -> None:
    clock = FakeClock()
    budget = RetryBudget(floor=3.0, clock=clock)
    drain(budget)
    clock.advance(1.0)
    assert drain(budget) == 2  # three, less what has faded


def test_what_was_not_used_fades() -> None:
    clock = FakeClock()
    budget = RetryBudget(share=0.5, floor=0.0, clock=clock)
    budget.requests += 1000
    assert budget.allowance == pytest.approx(500)
    clock.advance(100.0)
    assert budget.allowance < 0.1


def test_steady_traffic_earns_ten_seconds_of_its_share() -> None:
    clock = FakeClock()
    budget = RetryBudget(share=0.2, floor=0.0, clock=clock)
    for _ in range(100):
        clock.advance(1.0)
        budget.requests += 50
        assert budget.allowance <= 100.0 + 1e-6
    assert budget.allowance == pytest.approx(100.0, rel=0.01)


def test_how_often_it_is_asked_makes_no_difference() -> None:
    clock = FakeClock()
    often, seldom = (RetryBudget(share=0.2, floor=2.0, clock=clock) for _ in range(2))
    for _ in range(50):
        clock.advance(0.1)
        often.requests += 10
        seldom.requests += 10
        assert often.allowance > 0
    assert often.allowance == pytest.approx(seldom.allowance, rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 5), st.integers(0, 30)), max_size=40))
def test_never_more_than_share_floor_and_the_first_ten_seconds(
    steps: list[tuple[int, float, int]],
) -> None:
    clock = FakeClock(0.0)
    budget = RetryBudget(share=0.2, floor=1.0, clock=clock)
    requests = taken = 0
    for arrived, seconds, wanted in steps:
        budget.requests += arrived
        requests += arrived
        clock.advance(seconds)
        taken += sum(budget.take() for _ in range(wanted))
    assert taken <= 0.2 * requests + clock.now + 10.0 + 1e-6
