from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gatewayd.testing import make_exchange
from tests.support.balancing import make_balancer, make_instances

if TYPE_CHECKING:
    from gatewayd import Instance


def test_takes_them_in_turn_whatever_their_weights() -> None:
    instances, balancer = make_instances([5, 1, 1]), make_balancer("round_robin")
    picks = [balancer.pick(instances, make_exchange()) for _ in range(9)]
    assert picks[:3] == picks[3:6] == picks[6:]
    assert set(Counter(picks).values()) == {3}


def test_workers_begin_at_different_places() -> None:
    instances, exchange = make_instances([1, 1, 1]), make_exchange()
    firsts = {make_balancer("round_robin").pick(instances, exchange) for _ in range(60)}
    assert len(firsts) == 3


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_others_share_what_a_broken_one_leaves_evenly(count: int) -> None:
    instances, balancer = make_instances([1] * count), make_balancer("round_robin")
    broken, *others = instances
    firsts: Counter[Instance] = Counter()
    served: Counter[Instance] = Counter()
    for _ in range(1200):
        exchange = make_exchange()
        pick = balancer.pick(instances, exchange)
        firsts[pick] += 1
        if pick is broken:
            exchange.tried = (broken,)
            pick = balancer.pick(others, exchange)
        served[pick] += 1
    assert set(firsts.values()) == {1200 // count}
    share = 1200 / (count - 1)
    assert all(0.9 * share < served[one] < 1.1 * share for one in others)
