from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.resilience.window import SLICES, CountWindow, TimeWindow

CALLS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.floats(0, 5, allow_nan=False)), max_size=80
)


def test_a_time_window_forgets_what_is_older_than_it() -> None:
    window = TimeWindow(10.0)
    window.add(True, True, 0.0)
    window.add(False, False, 10.5)
    assert (window.calls, window.failures, window.slow) == (1, 0, 0)


def test_a_time_window_remembers_what_is_younger_than_nine_tenths_of_it() -> None:
    window = TimeWindow(10.0)
    window.add(True, False, 0.0)
    window.add(True, True, 8.5)
    assert (window.calls, window.failures, window.slow) == (2, 2, 1)


@pytest.mark.parametrize("later", [10.0, 99.9, 1e9])
def test_a_time_window_is_empty_after_a_long_pause(later: float) -> None:
    window = TimeWindow(10.0)
    for _ in range(5):
        window.add(True, True, 3.0)
    window.add(False, False, 3.0 + later)
    assert (window.calls, window.failures, window.slow) == (1, 0, 0)


@given(CALLS)
def test_a_time_window_counts_what_is_in_its_slices(calls: list[tuple[bool, bool, float]]) -> None:
    window = TimeWindow(10.0)
    now = 0.0
    ended: list[tuple[float, bool, bool]] = []
    for failed, slow, pause in calls:
        now += pause
        ended.append((now, failed, slow))
        window.add(failed, slow, now)
        surely = [one for one in ended if now - one[0] < 10.0 * (SLICES - 1) / SLICES - 1e-6]
        perhaps = [one for one in ended if now - one[0] <= 10.0 + 1e-6]
        assert len(surely) <= window.calls <= len(perhaps)
        assert sum(one[1] for one in surely) <= window.failures <= sum(one[1] for one in perhaps)
        assert sum(one[2] for one in surely) <= window.slow <= sum(one[2] for one in perhaps)


@given(CALLS, st.integers(1, 10))
def test_a_count_window_counts_the_last_calls(
    calls: list[tuple[bool, bool, float]], size: int
) -> None:
    window = CountWindow(size)
    for failed, slow, _ in calls:
        window.add(failed, slow, 0.0)
    last = calls[-size:]
    assert window.calls == len(last)
    assert window.failures == sum(one[0] for one in last)
    assert window.slow == sum(one[1] for one in last)
