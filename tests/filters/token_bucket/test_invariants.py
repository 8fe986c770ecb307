"""What holds for every bucket, in memory and shared, whatever is asked of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gatewayd.testing import FakeClock
from gatewayd_filters.token_bucket.backend import Charge, Limit
from tests.filters.token_bucket.model import CLOSE, Backend, Model, new_key

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[FakeClock], Backend]

same_fixture = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)
rates = st.one_of(st.floats(0.01, 10_000), st.sampled_from([1 / 60, 1.0, 100.0, 1e8]))
bursts = st.one_of(st.floats(1, 1000), st.just(1.0))
limits = st.builds(Limit, rates, bursts, st.just(1.0))
steps = st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 100), st.floats(-10, 0))
costs = st.one_of(st.just(1.0), st.floats(0.1, 10))


@same_fixture
@given(limit=limits, questions=st.lists(st.tuples(steps, costs), max_size=60))
def test_a_bucket_is_that_of_the_model(
    make: Make, limit: Limit, questions: list[tuple[float, float]]
) -> None:
    clock = FakeClock()
    backend, model, key = make(clock), Model(limit), new_key()
    for step, cost in questions:
        clock.advance(step)
        model.advance(clock.now)
        verdict = backend.take([Charge(key, limit, cost)])
        expected = model.expects(cost)
        assert expected in (None, verdict.allowed)
        if verdict.allowed:
            model.take(cost)
            assert verdict.retry_after == 0
        assert abs(model.tokens - type(CLOSE)(verdict.remaining[0])) < CLOSE
    model.check_every_interval()


@same_fixture
@given(
    several=st.lists(limits, min_size=2, max_size=4),
    questions=st.lists(st.tuples(steps, costs), max_size=40),
)
def test_several_buckets_give_all_or_nothing(
    make: Make, several: list[Limit], questions: list[tuple[float, float]]
) -> None:
    clock = FakeClock()
    backend = make(clock)
    keys = [new_key() for _ in several]
    models = [Model(limit) for limit in several]
    for step, cost in questions:
        clock.advance(step)
        for model in models:
            model.advance(clock.now)
        charges = [Charge(key, limit, cost) for key, limit in zip(keys, several, strict=True)]
        verdict = backend.take(charges)
        expected = [model.expects(cost) for model in models]
        if None not in expected:
            assert verdict.allowed == all(expected)
        for model in models:
            if verdict.allowed:
                model.take(cost)
        if not verdict.allowed:
            assert expected[verdict.limiting] is not True
        left = [model.tokens for model in models]
        assert all(
            abs(held - type(CLOSE)(told)) < CLOSE
            for held, told in zip(left, verdict.remaining, strict=True)
        )
    for model in models:
        model.check_every_interval()


@same_fixture
@given(limit=limits, taken=st.integers(0, 50), cost=costs)
def test_who_waits_as_long_as_told_is_let_in(
    make: Make, limit: Limit, taken: int, cost: float
) -> None:
    assume(cost <= limit.burst)
    clock = FakeClock()
    backend, charges = make(clock), [Charge(new_key(), limit, cost)]
    for _ in range(taken):
        verdict = backend.take(charges)
        if not verdict.allowed:
            clock.now = math.nextafter(clock.now + verdict.retry_after, math.inf)
            assert backend.take(charges).allowed


def test_time_that_goes_back_gives_nothing_until_it_has_caught_up(make: Make) -> None:
    clock = FakeClock()
    backend, charges = make(clock), [Charge(new_key(), Limit(1, 2, 1), 1)]
    allowed = []
    for step in (0, 0, -100, 50, 49.5, 1.5):
        clock.advance(step)
        allowed.append(backend.take(charges).allowed)
    assert allowed == [True, True, False, False, False, True]


def test_a_cost_above_the_burst_can_never_be_paid(make: Make) -> None:
    backend = make(FakeClock())
    verdict = backend.take([Charge(new_key(), Limit(100, 5, 1), 6)])
    assert (verdict.allowed, verdict.retry_after) == (False, math.inf)


def test_the_bucket_with_the_fewest_requests_left_is_named(make: Make) -> None:
    backend = make(FakeClock())
    charges = [Charge(new_key(), Limit(1, burst, 1), 1) for burst in (5, 3, 9)]
    assert backend.take(charges).limiting == 1


@pytest.mark.parametrize(("burst", "held"), [(4, 4), (20, 10)])
def test_a_new_limit_takes_the_bucket_over(make: Make, burst: float, held: float) -> None:
    clock = FakeClock()
    backend, key = make(clock), new_key()
    backend.take([Charge(key, Limit(1, 10, 1), 5)])
    clock.advance(100)
    verdict = backend.take([Charge(key, Limit(1, burst, 1), 1)])
    assert verdict.remaining == (held - 1,)


def test_time_before_a_new_limit_counts_at_the_old_rate(make: Make) -> None:
    clock = FakeClock()
    backend, key = make(clock), new_key()
    backend.take([Charge(key, Limit(1, 100, 1), 100)])
    clock.advance(10)
    assert backend.take([Charge(key, Limit(50, 100, 1), 1)]).remaining == (9,)
