from __future__ import annotations

from collections import Counter

from gatewayd.testing import make_exchange
from tests.support.balancing import make_balancer, make_instances


def test_takes_them_in_turn_whatever_their_weights() -> None:
    instances, balancer = make_instances([5, 1, 1]), make_balancer("round_robin")
    picks = [balancer.pick(instances, make_exchange()) for _ in range(9)]
    assert picks[:3] == picks[3:6] == picks[6:]
    assert set(Counter(picks).values()) == {3}


def test_workers_begin_at_different_places() -> None:
    instances, exchange = make_instances([1, 1, 1]), make_exchange()
    firsts = {make_balancer("round_robin").pick(instances, exchange) for _ in range(60)}
    assert len(firsts) == 3
