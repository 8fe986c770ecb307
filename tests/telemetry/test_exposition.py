"""The metrics page: read by the official parsers, added up over workers that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gatewayd.telemetry.exposition import OPENMETRICS, TEXT, page, snapshot
from gatewayd.telemetry.metrics import Metrics
from gatewayd.telemetry.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def packed(metrics: Metrics) -> Any:
    """Return a snapshot as it comes from another process."""
    return orjson.loads(orjson.dumps(await snapshot(metrics)))


async def totals_of(*workers: Metrics) -> Totals:
    totals = Totals()
    for slot, metrics in enumerate(workers):
        await totals.update(slot, 0, await packed(metrics), 0)
    return totals


async def samples_of(totals: Totals, accept: str = "") -> Samples:
    content_type, text = await page(totals, accept)
    parse: Callable[[str], Any] = parse_openmetrics if content_type == OPENMETRICS else parse_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def worker(requests: int = 0, in_flight: float = 0, seconds: tuple[float, ...] = ()) -> Metrics:
    metrics = Metrics()
    metrics.counter("t_requests", "Requests.", ("route",)).labels("a").value = requests
    metrics.gauge("t_in_flight", "In flight.").labels().value = in_flight
    histogram = metrics.histogram("t_seconds", "Seconds.", ("route",), bounds=(0.1, 1.0))
    for value in seconds:
        histogram.labels("a").observe(value)
    return metrics


@pytest.mark.parametrize(("accept", "name"), [("", "t_requests_total"), (PROMETHEUS, "t_requests")])
async def test_each_metric_is_described(accept: str, name: str) -> None:
    _, text = await page(await totals_of(worker(requests=1)), accept)
    assert f"# HELP {name} Requests.\n".encode() in text


@pytest.mark.parametrize("accept", ["", PROMETHEUS])
async def test_the_official_parsers_read_it(accept: str) -> None:
    totals = await totals_of(worker(3, 2, (0.05, 0.5, 5.0)))
    samples = await samples_of(totals, accept)
    assert samples["t_requests_total", (("route", "a"),)] == 3
    assert samples["t_in_flight", ()] == 2
    assert samples["t_seconds_bucket", (("le", "0.1"), ("route", "a"))] == 1
    assert samples["t_seconds_bucket", (("le", "1.0"), ("route", "a"))] == 2
    assert samples["t_seconds_bucket", (("le", "+Inf"), ("route", "a"))] == 3
    assert samples["t_seconds_count", (("route", "a"),)] == 3
    assert samples["t_seconds_sum", (("route", "a"),)] == pytest.approx(5.55)


async def test_workers_are_added_up() -> None:
    totals = await totals_of(worker(3, 2, (0.05,)), worker(4, 1, (0.06, 7.0)))
    samples = await samples_of(totals)
    assert samples["t_requests_total", (("route", "a"),)] == 7
    assert samples["t_in_flight", ()] == 3
    assert samples["t_seconds_bucket", (("le", "0.1"), ("route", "a"))] == 2
    assert samples["t_seconds_count", (("route", "a"),)] == 3


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        ("sum", {("t", ()): 7.0}),
        ("max", {("t", ()): 5.0}),
        ("min", {("t", ()): 2.0}),
        ("worker", {("t", (("worker", "0"),)): 2.0, ("t", (("worker", "1"),)): 5.0}),
    ],
)
async def test_gauges_are_put_together_as_they_ask(combine: Any, expected: Samples) -> None:
    workers = [Metrics(), Metrics()]
    for metrics, value in zip(workers, (2, 5), strict=True):
        metrics.gauge("t", "A gauge.", combine=combine).labels().value = value
    assert await samples_of(await totals_of(*workers)) == expected


async def test_counters_go_on_where_a_worker_is_replaced() -> None:
    totals = await totals_of(worker(10, 5), worker(1, 1))
    await totals.update(0, 1, await packed(worker(2, 1)), 1)
    samples = await samples_of(totals)
    assert samples["t_requests_total", (("route", "a"),)] == 13
    assert samples["t_in_flight", ()] == 2  # of those that live


async def test_what_a_worker_had_counted_stays_when_it_has_ended() -> None:
    totals = await totals_of(worker(10, 5))
    totals.worker_ended(0, 0)
    samples = await samples_of(totals)
    assert samples["t_requests_total", (("route", "a"),)] == 10
    assert ("t_in_flight", ()) not in samples


async def test_a_late_answer_of_one_that_has_ended_counts_for_nothing() -> None:
    totals = await totals_of(worker(10))
    totals.worker_ended(0, 0)
    await totals.update(0, 0, await packed(worker(10)), 1)
    assert (await samples_of(totals))["t_requests_total", (("route", "a"),)] == 10


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=30
    )
)
async def test_no_sequence_of_workers_makes_a_counter_go_back(
    steps: list[tuple[int, int, int]],
) -> None:
    totals, shown = Totals(), 0.0
    living: dict[int, tuple[int, int]] = {}
    for slot, action, more in steps:
        incarnation, counted = living.get(slot, (0, 0))
        if action == 3:
            incarnation, counted = incarnation + 1, 0
        if action == 2:
            totals.worker_ended(slot, incarnation)
            living[slot] = incarnation + 1, 0
        else:
            living[slot] = incarnation, counted + more
            await totals.update(slot, incarnation, await packed(worker(counted + more)), 0)
        samples = await samples_of(totals)
        count = samples.get(("t_requests_total", (("route", "a"),)), 0)
        assert count >= shown
        shown = count


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (PROMETHEUS, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("APPLICATION/OpenMetrics-Text; version=1.0.0", OPENMETRICS),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.1", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=much", TEXT),
        ("text/html,application/xhtml+xml", TEXT),
    ],
)
async def test_who_asks_chooses_the_format(accept: str, content_type: str) -> None:
    assert (await page(await totals_of(worker(1)), accept))[0] == content_type


@pytest.mark.parametrize(
    "value", ['say "a"', "back\\slash", "two\nlines", "two\rlines", "Überschrift", "", "{}"]
)
@pytest.mark.parametrize("accept", ["", PROMETHEUS])
async def test_any_label_value_comes_through(value: str, accept: str) -> None:
    metrics = Metrics()
    metrics.counter("t", "A counter.", ("name",)).labels(value).value = 1
    samples = await samples_of(await totals_of(metrics), accept)
    assert samples["t_total", (("name", value),)] == 1


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e300, 0.1, -3])
async def test_any_number_comes_through(value: float) -> None:
    metrics = Metrics()
    metrics.gauge("t", "A gauge.").labels().value = value
    totals = Totals()
    await totals.update(0, 0, await snapshot(metrics), 0)  # JSON has no infinity
    assert (await samples_of(totals))["t", ()] == value


async def test_a_worker_of_other_code_is_left_out_where_it_disagrees() -> None:
    other = Metrics()
    other.gauge("t_requests", "Something else.").labels().value = 100
    totals = await totals_of(worker(3), other)
    assert (await samples_of(totals))["t_requests_total", (("route", "a"),)] == 3


async def test_series_are_bounded_over_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.telemetry.totals.MAX_CELLS", 3)
    workers = []
    for number in range(4):
        metrics = Metrics()
        counter = metrics.counter("t", "A counter.", ("name",))
        for name in range(3):
            counter.labels(f"{number}.{name}").value = 1
        workers.append(metrics)
    samples = await samples_of(await totals_of(*workers))
    assert len(samples) == 4
    assert samples["t_total", (("name", "other"),)] == 9


async def test_cells_of_one_family() -> None:
    totals = await totals_of(worker(3), worker(4))
    totals.worker_ended(0, 0)
    assert totals.cells("t_requests") == [(("a",), [7])]
    assert totals.cells("nothing") == []
