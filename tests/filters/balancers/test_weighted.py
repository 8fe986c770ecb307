from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.testing import make_exchange
from gatewayd_filters.balancers.weighted import Schedule
from tests.support.balancing import assert_shares, make_balancer, make_instances, url

if TYPE_CHECKING:
    from collections.abc import Sequence


def smooth(weights: Sequence[int], picks: int) -> list[int]:
    """Smooth weighted round robin as it is usually written: one step of all for each pick."""
    current = [0] * len(weights)
    order = []
    for _ in range(picks):
        current = [one + weight for one, weight in zip(current, weights, strict=True)]
        best = current.index(max(current))
        current[best] -= sum(weights)
        order.append(best)
    return order


def scheduled(weights: Sequence[int], picks: int) -> list[int]:
    instances = make_instances(weights)
    schedule = Schedule(instances)
    return [instances.index(schedule.pick()) for _ in range(picks)]


def test_the_order_that_nginx_is_known_for() -> None:
    assert scheduled([5, 1, 1], 7) == [0, 0, 1, 0, 2, 0, 0]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12))
def test_the_order_is_that_of_smooth_weighted_round_robin(weights: list[int]) -> None:
    picks = 2 * sum(weights)
    assert scheduled(weights, picks) == smooth(weights, picks)


def test_over_a_period_everybody_has_exactly_its_share() -> None:
    weights = [7, 3, 1, 3, 20]
    instances, balancer = make_instances(weights), make_balancer("weighted")
    picks = Counter(balancer.pick(instances, make_exchange()).url for _ in range(10 * 34))
    assert picks == {url(n): 10 * weight for n, weight in enumerate(weights)}


@pytest.mark.parametrize("weights", [[5, 1, 1], [1, 1, 1, 1], [30, 20, 10]])
def test_lists_that_are_used_once_share_by_weight_as_well(weights: list[int]) -> None:
    balancer, exchange = make_balancer("weighted"), make_exchange()
    lists = [make_instances(weights) for _ in range(2000)]
    picks = Counter(balancer.pick(instances, exchange).url for instances in lists)
    assert_shares(picks, {url(n): weight for n, weight in enumerate(weights)})


def test_another_attempt_does_not_disturb_the_order() -> None:
    instances, balancer = make_instances([5, 1, 1]), make_balancer("weighted")
    picks = []
    for _ in range(14):
        picks.append(balancer.pick(instances, make_exchange()))
        balancer.pick(instances[1:], make_exchange())
    assert picks[:7] == picks[7:]
    assert sorted(Counter(picks).values()) == [2, 2, 10]
