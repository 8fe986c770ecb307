from __future__ import annotations

from collections import Counter

import pytest

from gatewayd.testing import make_exchange
from tests.support.balancing import assert_shares, make_balancer, make_instances, url


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [5, 3, 1, 1], [1] * 20])
def test_shares_are_by_weight(weights: list[int]) -> None:
    instances, balancer, exchange = (
        make_instances(weights),
        make_balancer("random"),
        make_exchange(),
    )
    picks = Counter(balancer.pick(instances, exchange).url for _ in range(4000))
    assert_shares(picks, {url(n): weight for n, weight in enumerate(weights)})


def test_the_shares_test_finds_what_is_not_by_weight() -> None:
    with pytest.raises(AssertionError, match="for"):
        assert_shares({"a": 1100, "b": 900}, {"a": 1, "b": 1})
