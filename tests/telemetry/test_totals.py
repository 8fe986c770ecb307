"""What workers have counted, added up: nothing goes back, vanishes or counts twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.telemetry.exposition import page, snapshot
from gatewayd.telemetry.metrics import Metrics
from gatewayd.telemetry.totals import Totals

if TYPE_CHECKING:
    from gatewayd.telemetry.exposition import Snapshot


async def counted(value: float, name: str = "a") -> Snapshot:
    """Return what a worker tells that has one counter, and a gauge of the same value."""
    metrics = Metrics()
    metrics.counter("t", "A counter.", ("name",)).labels(name).value = value
    metrics.gauge("t_now", "A gauge.").labels().value = value
    return await snapshot(metrics)


async def observed(*values: float, bounds: tuple[float, ...] = (1.0,)) -> Snapshot:
    metrics = Metrics()
    histogram = metrics.histogram("t_seconds", "A histogram.", bounds=bounds)
    for value in values:
        histogram.labels().observe(value)
    return await snapshot(metrics)


def value_of(totals: Totals, name: str = "t") -> float:
    return sum(numbers[-1] for _, numbers in totals.cells(name))


@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
)
async def test_sums_of_floats_do_not_go_back_whatever_worker_ends_first(
    seconds: list[float], random: object
) -> None:
    totals = Totals()
    for slot, value in enumerate(seconds):
        await totals.update(slot, 0, await observed(value, value / 3), 0)
    before = value_of(totals, "t_seconds")
    order = list(range(len(seconds)))
    random.shuffle(order)  # type: ignore[attr-defined]
    for slot in order:
        totals.worker_ended(slot, 0)
        assert value_of(totals, "t_seconds") == before


async def test_a_sum_of_floats_is_their_sum() -> None:
    totals = Totals()
    await totals.update(0, 0, await observed(0.1, 0.2), 0)
    await totals.update(1, 0, await observed(0.3), 0)
    assert value_of(totals, "t_seconds") == pytest.approx(0.6, abs=1e-11)


async def test_a_worker_that_counts_in_other_bounds_is_left_out() -> None:
    totals = Totals()
    await totals.update(0, 0, await observed(), 0)  # nothing yet, so it has no bounds to tell
    await totals.update(1, 0, await observed(0.5, bounds=(1.0,)), 0)
    await totals.update(2, 0, await observed(0.5, bounds=(2.0,)), 0)
    await totals.update(3, 0, await observed(0.25, bounds=(1.0,)), 0)
    assert value_of(totals, "t_seconds") == 0.75


async def test_an_answer_asked_for_earlier_changes_nothing() -> None:
    totals = Totals()
    await totals.update(0, 0, await counted(7), 2)
    await totals.update(0, 0, await counted(5), 1)
    assert value_of(totals) == 7


async def test_an_answer_of_the_one_before_changes_nothing() -> None:
    totals = Totals()
    await totals.update(0, 1, await counted(7), 1)
    await totals.update(0, 0, await counted(5), 2)
    assert value_of(totals) == 7


async def test_the_end_of_the_one_before_does_not_end_its_successor() -> None:
    totals = Totals()
    await totals.update(0, 1, await counted(7), 0)
    totals.worker_ended(0, 0)
    assert value_of(totals, "t_now") == 7


async def test_an_answer_that_is_read_while_its_worker_ends_counts_once() -> None:
    totals = Totals()
    await totals.update(0, 0, await counted(5), 0)
    reading = asyncio.create_task(totals.update(0, 0, await counted(7), 1))
    await asyncio.sleep(0)  # it has begun, and waits between two families
    totals.worker_ended(0, 0)
    await reading
    assert value_of(totals) == 5


async def test_gauges_of_a_worker_that_has_ended_are_gone() -> None:
    totals = Totals()
    await totals.update(0, 0, await counted(5), 0)
    totals.worker_ended(0, 0)
    assert totals.cells("t_now") == []


async def test_a_page_that_is_being_written_shows_one_moment() -> None:
    totals = Totals()
    metrics = Metrics()
    names = [f"t{number}" for number in range(6)]
    for name in names:
        metrics.counter(name, "A counter.").labels().value = 1
    await totals.update(0, 0, await snapshot(metrics), 0)
    writing = asyncio.create_task(page(totals, ""))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not writing.done()
    totals.worker_ended(0, 0)
    await totals.update(0, 1, await snapshot(metrics), 1)
    _, text = await writing
    samples = [line for line in text.decode().splitlines() if not line.startswith("#")]
    assert samples == [f"{name}_total 1" for name in names]


async def test_no_name_goes_under_other_because_a_worker_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gatewayd.telemetry.totals.MAX_CELLS", 2)
    totals = Totals()
    for slot, name in enumerate("abc"):
        await totals.update(slot, 0, await counted(slot + 1, name), 0)
    shown = sorted(totals.cells("t"))
    assert shown == [(("a",), [1]), (("b",), [2]), (("other",), [3])]
    for slot in (2, 1, 0):
        totals.worker_ended(slot, 0)
        assert sorted(totals.cells("t")) == shown


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e300, None])
async def test_a_count_that_is_no_number_leaves_the_page_readable(value: float | None) -> None:
    totals = Totals()
    told = await counted(1)
    told["t"]["cells"][0][1][0] = value
    await totals.update(0, 0, told, 0)
    assert b't_total{name="a"} NaN\n' in (await page(totals, ""))[1]


async def test_half_a_surrogate_pair_leaves_the_page_readable() -> None:
    totals = Totals()
    await totals.update(0, 0, await counted(1, "\ud800"), 0)
    assert b't_total{name="?"} 1\n' in (await page(totals, ""))[1]
