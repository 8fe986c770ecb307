from __future__ import annotations

from collections import Counter

import pytest

from gatewayd.testing import make_exchange
from tests.support.balancing import assert_shares, make_balancer, make_instances, url


@pytest.mark.parametrize(
    ("weights", "active", "least"),
    [
        ([1, 1, 1], [3, 1, 2], 1),
        ([1, 1, 1], [0, 1, 1], 0),
        ([1, 4], [2, 7], 1),
        ([1, 4], [1, 5], 0),
    ],
)
def test_the_least_busy_for_its_weight(weights: list[int], active: list[int], least: int) -> None:
    instances = make_instances(weights, active=active)
    balancer = make_balancer("least_connections")
    assert {balancer.pick(instances, make_exchange()) for _ in range(20)} == {instances[least]}


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [4, 2, 1], [1] * 40])
def test_ties_are_broken_by_chance_and_weight(weights: list[int]) -> None:
    instances, exchange = make_instances(weights), make_exchange()
    balancer = make_balancer("least_connections")
    picks = Counter(balancer.pick(instances, exchange).url for _ in range(4000))
    assert_shares(picks, {url(n): weight for n, weight in enumerate(weights)})


def test_of_many_the_busy_ones_are_avoided() -> None:
    active = [0 if number % 4 == 0 else 9 for number in range(100)]
    instances, exchange = make_instances([1] * 100, active=active), make_exchange()
    balancer = make_balancer("least_connections")
    picks = [balancer.pick(instances, exchange) for _ in range(500)]
    assert {one.active for one in picks} == {0}
    assert len(set(picks)) == 25
