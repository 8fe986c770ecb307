from __future__ import annotations

import pytest

from gatewayd import Backoff


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0.025), (2, 0.05), (3, 0.1), (4, 0.2), (5, 0.25), (5000, 0.25)]
)
def test_doubles_up_to_its_bound(failures: int, seconds: float) -> None:
    assert Backoff(jitter="none").wait(failures) == pytest.approx(seconds)


def test_full_jitter_spreads_over_the_whole_span() -> None:
    waits = [Backoff(base=1.0, max=8.0).wait(3) for _ in range(1000)]
    assert 0.0 <= min(waits) < 0.4
    assert 3.6 < max(waits) <= 4.0
    # Mean 2, standard deviation of the mean 0.037: eight of them on either side.
    assert 1.7 < sum(waits) / len(waits) < 2.3
