from __future__ import annotations

import math
from typing import Any

import pytest

from gatewayd.config.schema import OutlierConfig
from gatewayd.services.outlier import Outliers

A, B, C = (f"http://10.0.0.{number}:80" for number in (1, 2, 3))


def make(**settings: Any) -> Outliers:
    return Outliers(OutlierConfig(**{"consecutive_failures": 2, "base_ejection": 10, **settings}))


def fail(outliers: Outliers, url: str, now: float, instances: int = 3, times: int = 2) -> float:
    """Let exchanges fail; return what the last one leads to."""
    return [outliers.record(url, True, now, instances) for _ in range(times)][-1]


@pytest.mark.parametrize(
    ("settings", "outcomes", "ejected"),
    [
        ({}, "FF", True),
        ({}, "F.F.F.F", False),
        ({"min_requests": 4}, ".F.F", True),
        ({"min_requests": 4, "failure_ratio": 0.6}, ".F.F", False),
        ({"consecutive_failures": 0, "min_requests": 9}, "FFFFFFFF", False),
        ({"consecutive_failures": 0, "failure_ratio": 0, "min_requests": 1}, "FFFF", False),
    ],
)
def test_ejects(settings: dict[str, Any], outcomes: str, ejected: bool) -> None:
    outliers = make(**settings)
    results = [outliers.record(A, outcome == "F", 100.0, 3) for outcome in outcomes]
    assert (results[-1] == 110.0) is ejected
    assert (outliers.ejected_until(A) > 0) is ejected


def test_what_ends_after_the_ejection_does_not_count() -> None:
    outliers = make()
    assert fail(outliers, A, 100.0) == 110.0
    assert fail(outliers, A, 105.0) == 0.0
    assert outliers.ejected_until(A) == 110.0


def test_each_ejection_is_longer_up_to_the_longest() -> None:
    outliers = make(max_ejection=25)
    now, lengths = 100.0, []
    for _ in range(4):
        until = fail(outliers, A, now)
        lengths.append(until - now)
        now = until
        assert outliers.take_back(now) == [A]
    assert lengths == [10.0, 20.0, 25.0, 25.0]


@pytest.mark.parametrize(("served", "length"), [(9.0, 30.0), (10.0, 20.0), (1000.0, 10.0)])
def test_serving_is_forgiven(served: float, length: float) -> None:
    outliers = make()
    for now in (100.0, 110.0):
        outliers.take_back(now)
        fail(outliers, A, now)
    outliers.take_back(130.0)
    assert fail(outliers, A, 130.0 + served) == 130.0 + served + length


@pytest.mark.parametrize(
    ("share", "instances", "ejected"),
    [(0.5, 1, 0), (0.5, 2, 1), (0.5, 3, 1), (0.7, 3, 2), (1.0, 3, 3), (0.0, 3, 0)],
)
def test_never_more_than_the_share(share: float, instances: int, ejected: int) -> None:
    outliers = make(max_ejected_share=share)
    results = [fail(outliers, url, 100.0, instances, times=5) for url in (A, B, C)[:instances]]
    assert sum(outliers.ejected_until(url) > 0 for url in (A, B, C)) == ejected
    assert len(results) == instances


def test_who_may_not_be_ejected_is_once_there_is_room() -> None:
    outliers = make()
    fail(outliers, A, 100.0)
    assert fail(outliers, B, 101.0) == 0.0
    outliers.take_back(110.0)
    assert fail(outliers, B, 110.0, times=1) == 120.0


def test_an_instance_that_is_back_starts_afresh() -> None:
    outliers = make(min_requests=2)
    fail(outliers, A, 100.0)
    assert outliers.take_back(109.9) == []
    assert outliers.take_back(110.0) == [A]
    assert outliers.record(A, True, 110.0, 3) == 0.0
    assert outliers.ejected_until(A) == 0.0


def test_next_return_is_the_earliest() -> None:
    outliers = make(max_ejected_share=1)
    assert outliers.next_return() == math.inf
    fail(outliers, A, 100.0)
    fail(outliers, B, 103.0)
    assert outliers.next_return() == 110.0


def test_instances_that_are_gone_are_forgotten() -> None:
    outliers = make()
    fail(outliers, A, 100.0)
    outliers.forget([B])
    assert outliers.next_return() == math.inf
    assert fail(outliers, B, 101.0) == 111.0
