from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gatewayd import (
    ConnectFailure,
    ConnectTimeout,
    Instance,
    Reject,
    UpstreamError,
    UpstreamTimeout,
)
from gatewayd.testing import FakeClock, make_exchange
from tests.support.balancing import FakePool, assert_shares, make_balancer, make_instances, url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Balancer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def p2c(clock: FakeClock) -> Balancer:
    return make_balancer("p2c", clock=clock, decay=10, failure_latency=5)


def picks(balancer: Balancer, instances: Sequence[Instance], number: int = 2000) -> Counter[str]:
    exchange = make_exchange()
    return Counter(balancer.pick(instances, exchange).url for _ in range(number))


def test_one_instance_is_picked_without_choice(p2c: Balancer) -> None:
    (only,) = instances = make_instances([1])
    assert p2c.pick(instances, make_exchange()) is only


def test_the_slowest_wins_no_comparison(p2c: Balancer) -> None:
    instances = make_instances([1] * 4)
    for instance, seconds in zip(instances, (0.01, 0.02, 0.03, 0.04), strict=True):
        p2c.done(instance, seconds, None)
    # Of the six pairs the fastest is in three, the next one is the faster of two, and so on.
    assert_shares(picks(p2c, instances), {url(0): 3, url(1): 2, url(2): 1})


def test_more_under_way_is_as_bad_as_slower(p2c: Balancer) -> None:
    fast, slow = instances = make_instances([1, 1], active=[5, 0])
    p2c.done(fast, 0.01, None)
    p2c.done(slow, 0.05, None)
    assert set(picks(p2c, instances)) == {slow.url}


def test_weight_divides_the_cost(p2c: Balancer) -> None:
    heavy, light = instances = make_instances([3, 1], active=[1, 0])
    p2c.done(heavy, 0.01, None)
    p2c.done(light, 0.01, None)
    assert set(picks(p2c, instances)) == {heavy.url}


def test_a_slow_answer_counts_at_once_and_fades(p2c: Balancer, clock: FakeClock) -> None:
    one, other = instances = make_instances([1, 1])
    p2c.done(one, 0.010, None)
    p2c.done(one, 1.0, None)
    p2c.done(other, 0.5, None)
    assert set(picks(p2c, instances)) == {other.url}
    clock.advance(30)
    p2c.done(other, 0.5, None)
    assert set(picks(p2c, instances)) == {one.url}


def test_an_instance_that_refuses_at_once_is_not_fast(p2c: Balancer) -> None:
    broken, fine = instances = make_instances([1, 1])
    p2c.done(broken, 0.0001, ConnectFailure("refused", sent=False))
    p2c.done(fine, 0.2, None)
    assert set(picks(p2c, instances)) == {fine.url}


@pytest.mark.parametrize(
    "error", [Reject(503, "breaker_open"), asyncio.CancelledError(), ValueError("of a filter")]
)
def test_what_says_nothing_of_the_instance_does_not_count(
    p2c: Balancer, error: BaseException
) -> None:
    refused, fine = instances = make_instances([1, 1])
    p2c.done(refused, 0.3, None)
    p2c.done(fine, 0.2, None)
    p2c.done(refused, 0.0001, error)
    assert set(picks(p2c, instances)) == {fine.url}


@pytest.mark.parametrize("instance_failed", [True, False])
@pytest.mark.parametrize("kind", [UpstreamTimeout, ConnectTimeout])
def test_a_time_out_counts_unless_the_instance_is_not_to_blame(
    p2c: Balancer, kind: type[UpstreamError], instance_failed: bool
) -> None:
    late, other = instances = make_instances([1, 1])
    p2c.done(late, 0.1, None)
    p2c.done(other, 0.2, None)
    error = kind("late", sent=False)
    error.instance_failed = instance_failed
    p2c.done(late, 30.0, error)
    assert set(picks(p2c, instances)) == {other.url if instance_failed else late.url}


def test_a_client_that_left_after_long_shows_a_slow_instance(p2c: Balancer) -> None:
    hanging, fine = instances = make_instances([1, 1])
    p2c.done(hanging, 0.01, None)
    p2c.done(fine, 0.2, None)
    p2c.done(hanging, 3.0, asyncio.CancelledError())
    assert set(picks(p2c, instances)) == {fine.url}


def test_an_unknown_instance_is_tried_by_one_at_a_time(p2c: Balancer) -> None:
    unknown, known = instances = make_instances([1, 1])
    p2c.done(known, 0.1, None)
    assert set(picks(p2c, instances)) == {unknown.url}
    pool = unknown.pool
    assert isinstance(pool, FakePool)
    pool.active = 1
    assert set(picks(p2c, instances)) == {known.url}


def test_an_instance_that_never_answers_is_not_the_most_welcome_one(
    p2c: Balancer, clock: FakeClock
) -> None:
    hanging, fine = instances = make_instances([1, 1])
    p2c.done(fine, 0.1, None)
    p2c.done(hanging, 0.2, asyncio.CancelledError())
    assert set(picks(p2c, instances)) == {fine.url}
    clock.advance(100)
    p2c.done(fine, 0.1, None)
    assert set(picks(p2c, instances)) == {hanging.url}  # it is tried again


def test_a_client_that_left_at_once_does_not_make_an_instance_known(p2c: Balancer) -> None:
    unknown, known = instances = make_instances([1, 1])
    p2c.done(known, 0.1, None)
    p2c.done(unknown, 0.0001, asyncio.CancelledError())
    pool = unknown.pool
    assert isinstance(pool, FakePool)
    assert set(picks(p2c, instances)) == {unknown.url}
    pool.active = 1
    assert set(picks(p2c, instances)) == {known.url}


@pytest.mark.parametrize("error", [None, asyncio.CancelledError()], ids=["answered", "given up"])
def test_addresses_that_are_gone_are_forgotten(
    p2c: Balancer, clock: FakeClock, error: BaseException | None
) -> None:
    for instance in make_instances([1] * 2000):
        p2c.done(instance, 0.1, error)
        clock.advance(1)
    assert len(vars(p2c)["_latencies"]) + len(vars(p2c)["_waits"]) < 512
