from __future__ import annotations

import pytest

from gatewayd_filters.token_bucket.backend import Limit
from gatewayd_filters.token_bucket.limits import parse_limit, period_of


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (100, Limit(100, 100, 1)),
        (0.5, Limit(0.5, 1, 1)),
        (1 / 86_400, Limit(1 / 86_400, 1, 1)),
        (1e-9, Limit(1e-9, 1, 1)),
        ("100", Limit(100, 100, 1)),
        ("100/second", Limit(100, 100, 1)),
        ("120/minute", Limit(2, 120, 60)),
        ("7200/hour", Limit(2, 7200, 3600)),
        ("86400/day", Limit(1, 86400, 86400)),
        ("10/second burst 50", Limit(10, 50, 1)),
        ("30/minute burst 2", Limit(0.5, 2, 60)),
        (" 30 / minute  burst  2 ", Limit(0.5, 2, 60)),
        ("1.5/second burst 2.5", Limit(1.5, 2.5, 1)),
        ("100000000/second", Limit(1e8, 1e8, 1)),
    ],
)
def test_a_limit_as_people_write_it(value: float | str, limit: Limit) -> None:
    assert parse_limit(value) == limit


@pytest.mark.parametrize(
    "value",
    ["", "fast", "100/minte", "100/", "/second", "-1", "1e3", "10/second burst", "burst 5",
     "10 per second", "10/second burst 50 more", "10/seconds", True, float("nan"), float("inf")],
)  # fmt: skip
def test_what_is_no_limit_is_told_what_was_expected(value: float | str) -> None:
    with pytest.raises(ValueError, match='such as "100/minute"'):
        parse_limit(value)


@pytest.mark.parametrize("value", [0, -1, 1e-10, "0/second", "9999999999999", 1e300, 10**400])
def test_a_count_has_bounds(value: float | str) -> None:
    with pytest.raises(ValueError, match="expected a count"):
        parse_limit(value)


def test_the_burst_is_that_of_the_text_before_the_one_beside_it() -> None:
    assert parse_limit("10/second burst 5", burst=7).burst == 5
    assert parse_limit("10/second", burst=7).burst == 7


def test_a_bucket_that_never_holds_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a burst"):
        parse_limit("10/second burst 0")


@pytest.mark.parametrize("period", ["second", "minute", "hour", "day"])
def test_a_limit_knows_its_period(period: str) -> None:
    assert period_of(parse_limit(f"5/{period}")) == period
