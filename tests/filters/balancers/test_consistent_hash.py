from __future__ import annotations

from collections import Counter
from math import ceil, sqrt
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import ConfigError, Instance
from gatewayd.testing import make_exchange
from gatewayd_filters.balancers.ring import PLACES, Ring
from tests.support.balancing import make_balancer, make_instances, url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayd import Balancer

USERS = [f"user-{number}" for number in range(3000)]


@pytest.fixture
def balancer() -> Balancer:
    return make_balancer("consistent_hash", on="header:X-User")


def pick(balancer: Balancer, instances: Sequence[Instance], user: str) -> Instance:
    """Pick for an exchange that ends at once."""
    chosen = balancer.pick(instances, make_exchange(headers={"X-User": user}))
    balancer.done(chosen, 0.1, None)
    return chosen


def mapping(
    balancer: Balancer, instances: Sequence[Instance], users: Iterable[str] = USERS
) -> Mapping[str, Instance]:
    return {user: pick(balancer, instances, user) for user in users}


def test_all_workers_agree() -> None:
    instances = make_instances([1, 2, 3, 4])
    one, other = (make_balancer("consistent_hash", on="header:X-User") for _ in range(2))
    assert mapping(one, instances) == mapping(other, tuple(reversed(instances)))


def test_who_goes_away_moves_nobody_else(balancer: Balancer) -> None:
    instances = make_instances([1] * 10)
    before = mapping(balancer, instances)
    after = mapping(balancer, instances[1:])
    moved = {user for user in USERS if before[user] is not after[user]}
    assert moved == {user for user in USERS if before[user] is instances[0]}
    assert len({after[user] for user in moved}) > 5, "they are spread over the others"


def test_who_comes_back_gets_its_own_again(balancer: Balancer) -> None:
    instances = make_instances([1] * 10)
    before = mapping(balancer, instances)
    mapping(balancer, instances[2:])
    assert mapping(balancer, instances) == before


def test_the_ring_is_not_made_again_for_who_is_away(balancer: Balancer) -> None:
    instances = make_instances([1] * 10)
    pick(balancer, instances, "anyone")
    ring = vars(balancer)["_ring"]
    for number in range(8):
        pick(balancer, instances[number:], "anyone")
    assert vars(balancer)["_ring"] is ring


def test_a_new_weight_takes_effect(balancer: Balancer) -> None:
    one, other = make_instances([1, 1])
    before = Counter(mapping(balancer, (one, other)).values())
    one.weight = 8
    after = Counter(mapping(balancer, (one, other)).values())
    assert after[one] > 1.3 * before[one]


def test_who_is_new_takes_its_share_and_moves_nobody_else(balancer: Balancer) -> None:
    instances = make_instances([1] * 10)
    before = mapping(balancer, instances[:9])
    after = mapping(balancer, instances)
    moved = {user for user in USERS if before[user] is not after[user]}
    assert {after[user] for user in moved} == {instances[9]}
    assert len(moved) / len(USERS) == pytest.approx(1 / 10, abs=0.05)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [6, 3, 1], [1000, 1000, 500]])
def test_shares_are_by_weight(balancer: Balancer, weights: list[int]) -> None:
    """Places are random, and so are shares: n places have 1/sqrt(n) of one as their deviation.

    A share is tested with 99.9 % confidence, which is 3.3 deviations.
    """
    instances = make_instances(weights)
    counts = Counter(mapping(balancer, instances).values())
    places = Counter(Ring({one.url: one.weight for one in instances}).owners)
    for instance in instances:
        share = instance.weight / sum(weights)
        deviation = 1 / sqrt(places[instance.url])
        assert counts[instance] / len(USERS) == pytest.approx(share, rel=3.3 * deviation)


@given(st.lists(st.integers(1, 1_000_000), min_size=1, max_size=6))
def test_places_are_by_weight(weights: list[int]) -> None:
    places = Counter(Ring({url(n): weight for n, weight in enumerate(weights)}).owners)
    most, heaviest = max(places.values()), max(weights)
    assert PLACES // 2 <= most <= PLACES
    for number, weight in enumerate(weights):
        assert places[url(number)] == pytest.approx(most * weight / heaviest, rel=0, abs=1)


def test_one_popular_key_does_not_sink_its_instance() -> None:
    instances, factor = make_instances([1] * 5), 1.25
    balancer = make_balancer("consistent_hash", on="header:X-User", load_factor=factor)
    exchange = make_exchange(headers={"X-User": "popular"})
    loads: Counter[Instance] = Counter()
    for under_way in range(1, 101):
        loads[balancer.pick(instances, exchange)] += 1
        assert max(loads.values()) <= ceil(factor * under_way / 5)
    assert len(loads) == 4, "no further than needed"


def test_instances_may_have_load_by_weight() -> None:
    instances = make_instances([3, 1])
    balancer = make_balancer("consistent_hash", on="header:X-User", load_factor=1)
    exchange = make_exchange(headers={"X-User": "popular"})
    loads = Counter(balancer.pick(instances, exchange) for _ in range(80))
    assert loads == {instances[0]: 60, instances[1]: 20}


def test_the_key_is_back_when_the_load_is_gone(balancer: Balancer) -> None:
    instances = make_instances([1] * 5)
    home = pick(balancer, instances, "popular")
    exchange = make_exchange(headers={"X-User": "popular"})
    crowd = [balancer.pick(instances, exchange) for _ in range(20)]
    assert set(crowd) > {home}
    for instance in crowd:
        balancer.done(instance, 0.1, None)
    assert pick(balancer, instances, "popular") is home
    assert (vars(balancer)["_loads"], vars(balancer)["_under_way"]) == ({}, 0)


@pytest.mark.parametrize(
    ("on", "target", "headers"),
    [
        ("header:X-User", "/", {"x-user": "{}"}),
        ("cookie:session", "/", {"Cookie": "a=b; session={}; c=d"}),
        ("query:id", "/?x=1&id={}", {}),
        ("header:X-User", "/", {"x-user": "{}" + "x" * 100}),
    ],
)
def test_what_a_client_is_known_by(on: str, target: str, headers: Mapping[str, str]) -> None:
    instances, balancer = make_instances([1] * 5), make_balancer("consistent_hash", on=on)

    def home(user: str) -> Instance:
        fields = {name: value.format(user) for name, value in headers.items()}
        exchange = make_exchange(target=target.format(user), headers=fields)
        chosen = balancer.pick(instances, exchange)
        balancer.done(chosen, 0.1, None)
        return chosen

    assert len({home(user) for user in USERS[:200]}) == 5
    assert all(len({home(user) for _ in range(5)}) == 1 for user in USERS[:20])


def test_by_default_a_client_is_known_by_its_address() -> None:
    instances, balancer = make_instances([1] * 5), make_balancer("consistent_hash")
    homes: dict[int, Instance] = {}
    for number in 2 * list(range(1, 100)):
        chosen = balancer.pick(instances, make_exchange(peer=f"192.0.2.{number}"))
        balancer.done(chosen, 0.1, None)
        assert homes.setdefault(number, chosen) is chosen
    assert len(set(homes.values())) == 5


@pytest.mark.parametrize("on", ["header:X-User", "cookie:session", "query:id"])
def test_clients_without_the_key_are_spread(on: str) -> None:
    instances, balancer = make_instances([1] * 5), make_balancer("consistent_hash", on=on)
    exchange = make_exchange(target="/?ident=5", headers={"Cookie": "oldsession=5; other=6"})
    counts: Counter[str] = Counter()
    for _ in range(2000):
        chosen = balancer.pick(instances, exchange)
        balancer.done(chosen, 0.1, None)
        counts[chosen.url] += 1
    owned = Counter(Ring({url(n): 1 for n in range(5)}).owners)
    assert min(counts.values()) > 0.5 * 2000 * min(owned.values()) / owned.total()


@pytest.mark.parametrize("on", ["principal", "header:", "header:a b", "cookie:", "query:", "IP"])
def test_an_unknown_source_is_an_error(on: str) -> None:
    with pytest.raises(ConfigError, match=r"strategy\.on: "):
        make_balancer("consistent_hash", on=on)


def test_the_ring_forgets_who_is_gone_for_good(balancer: Balancer) -> None:
    fleets = make_instances([1] * 200)
    for start in range(0, 200, 10):
        pick(balancer, fleets[start : start + 10], "anyone")
    assert len(vars(balancer)["_ring"].weights) <= 40
