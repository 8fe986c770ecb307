"""What is forgotten when there are more buckets than may be kept."""

from __future__ import annotations

import pytest

from gatewayd import Metrics
from gatewayd.testing import FakeClock
from gatewayd_filters.token_bucket.backend import Charge, Limit
from gatewayd_filters.token_bucket.memory import MemoryBackend
from gatewayd_filters.token_bucket.meter import Meter

LIMIT = Limit(1, 10, 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def meter() -> Meter:
    return Meter(Metrics())


@pytest.fixture
def backend(clock: FakeClock, meter: Meter) -> MemoryBackend:
    return MemoryBackend(clock, 8, meter)


def remaining(backend: MemoryBackend, key: str, cost: float = 1) -> float:
    return backend.take([Charge(key, LIMIT, cost)]).remaining[0]


def test_the_number_of_buckets_is_bounded(backend: MemoryBackend) -> None:
    for number in range(100):
        remaining(backend, f"key {number}")
    assert len(backend) == 8


def test_full_buckets_are_forgotten_for_nothing(
    backend: MemoryBackend, meter: Meter, clock: FakeClock
) -> None:
    remaining(backend, "empty", 10)
    for number in range(7):
        remaining(backend, f"key {number}")
    clock.advance(2)
    for number in range(7):
        remaining(backend, f"new {number}", 10)
    assert meter.evicted.value == 0
    assert remaining(backend, "empty") == 1


def test_else_the_bucket_goes_that_is_full_the_soonest(
    backend: MemoryBackend, meter: Meter
) -> None:
    for number in range(8):
        remaining(backend, f"key {number}", 10 - number)
    remaining(backend, "new", 10)
    assert meter.evicted.value == 1
    assert remaining(backend, "key 0", 0) == 0
    assert remaining(backend, "key 6", 0) == 6


def test_buckets_of_one_question_are_not_forgotten_for_each_other(clock: FakeClock) -> None:
    backend = MemoryBackend(clock, 16, Meter(Metrics()))  # of which 8 are looked at
    for number in range(16):
        remaining(backend, f"key {number}", 9 if number else 1)
    charges = [Charge("key 0", LIMIT, 1), Charge("new", LIMIT, 1)]
    assert backend.take(charges).remaining == (8, 9)
    assert backend.take(charges).remaining == (7, 8)


@pytest.mark.parametrize("others", [(), ("route/b|ip=192.0.2.1",)], ids=["one", "several"])
def test_the_meter_is_told_of_each_window_what_was_granted(
    clock: FakeClock, others: tuple[str, ...]
) -> None:
    metrics = Metrics()
    backend = MemoryBackend(clock, 8, Meter(metrics, window=10))
    charges = [Charge(key, LIMIT, 0.5) for key in ("route/a|ip=192.0.2.1", *others)]
    refused = [Charge(charge.key, LIMIT, 100) for charge in charges]
    for _ in range(31):
        backend.take(charges)
        assert not backend.take(refused).allowed
        clock.advance(0.5)
    (family,) = [one for one in metrics.read() if one.name == "gatewayd_rate_limit_window_ratio"]
    histogram = family.labels("route/a")
    # 21 times 0.5 tokens in 10 s, of 10 x 1 + 10.
    assert (sum(histogram.counts), histogram.sum) == (1, 10.5 / 20)
