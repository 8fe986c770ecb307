"""Metrics of a worker: what may be counted, and where many observations are counted at once."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from gatewayd.telemetry.metrics import SECONDS, Histogram, Metrics

if TYPE_CHECKING:
    from collections.abc import Callable


def one_by_one(values: list[float]) -> Histogram:
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.observe(value)
    return histogram


@pytest.mark.parametrize("count", [0, 1, len(SECONDS) - 1, len(SECONDS), 64, 1000])
def test_many_at_once_are_counted_as_one_by_one(count: int) -> None:
    random = Random(count)
    values = [random.expovariate(2.0) for _ in range(count)]
    expected = one_by_one(values)
    histogram = Histogram(SECONDS)
    histogram.observe_all(values)
    assert histogram.counts == expected.counts
    assert histogram.sum == pytest.approx(expected.sum)


def test_what_is_as_long_as_a_bound_counts_for_that_bound() -> None:
    histogram = Histogram(SECONDS)
    histogram.observe_all([*SECONDS, *SECONDS, 31.0])
    assert histogram.counts == [2] * len(SECONDS) + [1]


def test_observations_are_added_to_earlier_ones() -> None:
    histogram = Histogram((1.0,))
    histogram.observe_all([0.5, 2.0])
    histogram.observe_all([3.0])
    assert (histogram.counts, histogram.sum) == ([1, 2], 5.5)


# Each would make the page unreadable for Prometheus, with all that others count.
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda metrics: metrics.counter("my-requests", ""), id="name"),
        pytest.param(lambda metrics: metrics.counter("", ""), id="no name"),
        pytest.param(lambda metrics: metrics.counter("a", "", ("b-c",)), id="label"),
        pytest.param(lambda metrics: metrics.counter("a", "", ("__b",)), id="reserved label"),
        pytest.param(lambda metrics: metrics.gauge("a", "", ("b", "b")), id="label twice"),
        pytest.param(lambda metrics: metrics.histogram("a", "", ("le",)), id="label of bounds"),
        pytest.param(
            lambda metrics: metrics.gauge("a", "", ("worker",), combine="worker"),
            id="label of workers",
        ),
        pytest.param(lambda metrics: metrics.histogram("a", "", bounds=(2, 1)), id="descending"),
        pytest.param(
            lambda metrics: metrics.histogram("a", "", bounds=(1, float("inf"))), id="infinite"
        ),
        pytest.param(lambda metrics: metrics.counter("a", "", ("b",)).labels(200), id="number"),
    ],
)
def test_what_prometheus_could_not_read_is_refused(make: Callable[[Metrics], object]) -> None:
    with pytest.raises(ValueError, match=r"name|label|bounds"):
        make(Metrics())
