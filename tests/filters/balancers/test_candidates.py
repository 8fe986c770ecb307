"""What a balancer gets to choose from: zones, slow start, panic, other attempts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import Instance, NoInstance, Service
from gatewayd.testing import FakeClock, make_exchange
from gatewayd_filters.balancers.candidates import Candidates, Preferences
from tests.support.balancing import (
    assert_shares,
    make_balancer,
    make_instances,
    service_of,
    url,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SECRET = "not-a-secret-in-a-test"
HASH = ("consistent_hash", {"on": "header:X-User"})
ZONES = ["a", "a", "b", "b"]
START = 1000.0


def candidates(
    strategy: str = "random",
    settings: dict[str, Any] | None = None,
    *,
    zone: str = "",
    slow_start: float = 0.0,
    panic_threshold: float = 0.0,
    clock: FakeClock | None = None,
) -> Candidates:
    clock = clock or FakeClock(START)
    balancer = make_balancer(strategy, clock=clock, **(settings or {}))
    return Candidates(balancer, Preferences(zone, 1.4, slow_start, panic_threshold), clock)


def picks(one: Candidates, service: Service, number: int = 2000) -> Counter[str]:
    exchange = make_exchange()
    return Counter(one.pick(service, exchange).url for _ in range(number))


def urls(*numbers: int) -> set[str]:
    return {url(number) for number in numbers}


def take_out(service: Service, instances: Iterable[Instance]) -> None:
    for instance in instances:
        instance.checked = False
    service.refresh()


# --- zones --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "expected"), [("a", {0, 1}), ("b", {2, 3}), ("c", {0, 1, 2, 3}), ("", {0, 1, 2, 3})]
)
def test_the_own_zone_is_preferred_where_it_has_instances(zone: str, expected: set[int]) -> None:
    service = service_of(make_instances([1] * 4, ZONES))
    assert set(picks(candidates(zone=zone), service)) == urls(*expected)


def test_a_zone_with_spare_capacity_takes_over_for_its_own() -> None:
    instances = make_instances([1] * 5, ["a", "a", "a", "a", "b"])
    service = service_of(instances)
    take_out(service, instances[:1])  # 3 of 4 times 1.4 is enough for all
    assert set(picks(candidates(zone="a"), service)) == urls(1, 2, 3)


def test_what_a_zone_cannot_take_spills_over() -> None:
    instances = make_instances([1] * 4, ZONES)
    service = service_of(instances)
    take_out(service, instances[:1])  # 1 of 2 times 1.4 is 70 %
    assert_shares(picks(candidates(zone="a"), service), {url(1): 0.7, url(2): 0.15, url(3): 0.15})


def test_an_empty_zone_spills_over_whole() -> None:
    instances = make_instances([1] * 4, ZONES)
    service = service_of(instances)
    take_out(service, instances[:2])
    assert set(picks(candidates(zone="a"), service)) == urls(2, 3)


def test_what_is_left_of_a_zone_serves_where_no_other_can() -> None:
    instances = make_instances([1] * 4, ZONES)
    service = service_of(instances)
    take_out(service, instances[1:])
    assert set(picks(candidates(zone="a"), service)) == urls(0)


def test_clients_that_are_kept_are_kept_across_zones() -> None:
    instances = make_instances([1] * 4, ZONES)
    service = service_of(instances)
    one = candidates(*HASH, zone="a")
    homes = {one.pick(service, make_exchange(headers={"X-User": str(n)})) for n in range(100)}
    assert homes == set(instances)


# --- panic --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("away", "threshold", "expected"),
    [
        (1, 0.5, {1, 2, 3}),
        (2, 0.5, {2, 3}),
        (3, 0.5, {0, 1, 2, 3}),
        (3, 0.25, {3}),
        (3, 0.0, {3}),
    ],
)
def test_when_too_few_are_available_all_are_used(
    away: int, threshold: float, expected: set[int]
) -> None:
    instances = make_instances([1] * 4)
    service = service_of(instances)
    take_out(service, instances[:away])
    assert set(picks(candidates(panic_threshold=threshold), service)) == urls(*expected)


def test_a_panic_does_not_use_what_discovery_has_taken_out() -> None:
    instances = make_instances([1] * 4)
    instances[0].healthy = False
    service = service_of(instances)
    take_out(service, instances[1:3])
    assert set(picks(candidates(panic_threshold=0.5), service)) == urls(1, 2, 3)


def test_a_panic_ends() -> None:
    instances = make_instances([1] * 4)
    service = service_of(instances)
    one = candidates(panic_threshold=0.5)
    take_out(service, instances[:3])
    assert len(picks(one, service)) == 4
    instances[2].checked = True
    service.refresh()
    assert set(picks(one, service)) == urls(2, 3)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_where_none_is_available_it_is_refused(threshold: float) -> None:
    instances = make_instances([1] * 3)
    service = service_of(instances)
    one = candidates(panic_threshold=threshold)
    assert len(picks(one, service)) == 3
    take_out(service, instances)
    with pytest.raises(NoInstance):
        one.pick(service, make_exchange())


# --- slow start ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "share"), [(0, 0.1), (2, 0.1), (15, 0.5), (27, 0.9), (30, 1.0), (90, 1.0)]
)
@pytest.mark.parametrize("strategy", ["random", "round_robin", "weighted"])
def test_who_comes_back_gets_its_full_share_by_and_by(
    strategy: str, seconds: float, share: float
) -> None:
    clock = FakeClock(START)
    instances = make_instances([1] * 4)
    instances[0].since = START
    one = candidates(strategy, slow_start=30, clock=clock)
    service = service_of(instances)
    clock.advance(seconds)
    warming, others = share / 4, (1 - share / 4) / 3
    expected = {url(0): warming, **{url(n): others for n in (1, 2, 3)}}
    counts = picks(one, service)
    assert_shares(counts, expected)


def test_an_idle_instance_that_comes_back_is_not_flooded() -> None:
    instances = make_instances([1, 1, 1], active=[0, 5, 5])
    instances[0].since = START
    one = candidates("least_connections", slow_start=30)
    counts = picks(one, service_of(instances))
    assert_shares(counts, {url(0): 0.1, url(1): 0.45, url(2): 0.45})


def test_after_a_slow_start_nothing_is_left_to_decide() -> None:
    clock = FakeClock(START)
    instances = make_instances([1, 1])
    instances[0].since = START
    one, service = candidates(slow_start=30, clock=clock), service_of(instances)
    one.pick(service, make_exchange())
    assert one.plain is None
    clock.advance(30)
    one.pick(service, make_exchange())
    assert one.plain is service.available


def test_where_all_have_just_come_they_share() -> None:
    instances = make_instances([1, 1])
    for instance in instances:
        instance.since = START
    counts = picks(candidates(slow_start=30), service_of(instances))
    assert_shares(counts, {url(0): 1, url(1): 1})


def test_clients_that_are_kept_find_their_instance_at_once() -> None:
    instances = make_instances([1] * 3)
    one, service = candidates(*HASH, slow_start=30), service_of(instances)
    exchange = make_exchange(headers={"X-User": "someone"})

    def home() -> Instance:
        chosen = one.pick(service, exchange)
        one.balancer.done(chosen, 0.1, None)
        return chosen

    first = home()
    first.since = START
    service.refresh()
    assert {home() for _ in range(20)} == {first}


# --- another attempt ----------------------------------------------------------------------------

STRATEGIES: list[tuple[str, dict[str, Any]]] = [
    ("round_robin", {}),
    ("weighted", {}),
    ("random", {}),
    ("least_connections", {}),
    ("p2c", {}),
    HASH,
    ("sticky", {"secret": SECRET}),
]


@pytest.mark.parametrize(("strategy", "settings"), STRATEGIES)
def test_another_attempt_goes_to_another_instance(strategy: str, settings: dict[str, Any]) -> None:
    instances = make_instances([3, 2, 1])
    one, service = candidates(strategy, settings), service_of(instances)
    exchange = make_exchange(headers={"X-User": "someone"})
    tried: list[Instance] = []
    for _ in instances:
        tried.append(one.pick(service, exchange))
        exchange.tried = tuple(tried)
    assert set(tried) == set(instances)


def test_where_all_have_been_tried_they_are_tried_again() -> None:
    instances = make_instances([1, 1])
    one, service = candidates(), service_of(instances)
    exchange = make_exchange(values={"tried": tuple(instances)})
    assert {one.pick(service, exchange) for _ in range(50)} == set(instances)


@pytest.mark.parametrize(
    ("tried", "expected"), [([0], {1}), ([0, 1], {2, 3}), ([0, 1, 2], {3}), ([0, 1, 2, 3], {0, 1})]
)
def test_another_attempt_leaves_the_zone_last(tried: Sequence[int], expected: set[int]) -> None:
    instances = make_instances([1] * 4, ZONES)
    one, service = candidates(zone="a"), service_of(instances)
    exchange = make_exchange(values={"tried": tuple(instances[number] for number in tried)})
    assert {one.pick(service, exchange).url for _ in range(100)} == urls(*expected)
