"""The queue of ended spans: bounded, counted, and ended in time."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gatewayd import Cell
from gatewayd_filters.tracing.export import SpanQueue
from tests.support.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SECONDS = 10.0
EXPORTER_LOG = logging.getLogger(trace_exporter.__name__)


class Collector(SpanExporter):
    """Takes batches when it is allowed to, and answers as it is told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.may_answer = threading.Event()
        self.asked = threading.Semaphore(0)
        self.may_answer.set()

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.asked.release()
        if self.result is SpanExportResult.FAILURE:
            EXPORTER_LOG.error("batch %d failed", len(self.batches))
        self.may_answer.wait(SECONDS)
        self.batches.append(len(spans))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        self.may_answer.set()


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def counts() -> dict[str, Cell]:
    return {"exported": Cell(), "dropped": Cell()}


@pytest.fixture
def make_queue(collector: Collector, counts: dict[str, Cell]) -> Iterator[Callable[..., SpanQueue]]:
    queues: list[SpanQueue] = []

    def make(queue_size: int = 10, batch_size: int = 5, interval: float = SECONDS) -> SpanQueue:
        queues.append(
            SpanQueue(
                collector,
                interval=interval,
                queue_size=queue_size,
                batch_size=batch_size,
                exported=counts["exported"],
                dropped=counts["dropped"],
            )
        )
        return queues[-1]

    yield make
    collector.may_answer.set()
    for queue in queues:
        queue.close(SECONDS)


SPAN: Any = object()


def test_a_full_batch_is_sent_at_once(
    make_queue: Callable[..., SpanQueue], collector: Collector
) -> None:
    queue = make_queue(batch_size=3)
    for _ in range(3):
        queue.on_end(SPAN)
    assert collector.asked.acquire(timeout=SECONDS)


def test_a_lone_span_is_sent_after_the_interval(
    make_queue: Callable[..., SpanQueue], collector: Collector
) -> None:
    make_queue(interval=0.01).on_end(SPAN)
    assert collector.asked.acquire(timeout=SECONDS)


def test_what_is_beyond_the_queue_is_dropped_and_counted(
    make_queue: Callable[..., SpanQueue], collector: Collector, counts: dict[str, Cell]
) -> None:
    collector.may_answer.clear()
    queue = make_queue(queue_size=4, batch_size=2)
    queue.on_end(SPAN)
    queue.on_end(SPAN)
    assert collector.asked.acquire(timeout=SECONDS)  # the thread holds these two
    for _ in range(7):
        queue.on_end(SPAN)
    assert counts["dropped"].value == 3


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, OSError("collector is away")])
def test_what_the_collector_does_not_take_is_counted(
    make_queue: Callable[..., SpanQueue],
    collector: Collector,
    counts: dict[str, Cell],
    result: SpanExportResult | Exception,
) -> None:
    collector.result = result
    queue = make_queue()
    queue.on_end(SPAN)
    queue.close(SECONDS)
    assert (counts["exported"].value, counts["dropped"].value) == (0, 1)


def test_the_exporter_s_own_events_do_not_fill_the_log_in_an_outage(
    make_queue: Callable[..., SpanQueue], collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    queue = make_queue(batch_size=1)
    for result in (SpanExportResult.FAILURE, SpanExportResult.SUCCESS, SpanExportResult.FAILURE):
        collector.result = result
        for _ in range(3):
            told = len(collector.batches)
            queue.on_end(SPAN)
            wait_until(lambda told=told: len(collector.batches) > told, SECONDS, "the batch")
    queue.close(SECONDS)
    told_by_exporter = [one.message for one in caplog.records if one.name == EXPORTER_LOG.name]
    assert told_by_exporter == ["batch 0 failed", "batch 6 failed"]
    assert not EXPORTER_LOG.filters


def test_closing_sends_what_waits_in_batches(
    make_queue: Callable[..., SpanQueue], collector: Collector, counts: dict[str, Cell]
) -> None:
    queue = make_queue(queue_size=100, batch_size=100)
    for _ in range(7):
        queue.on_end(SPAN)
    queue.close(SECONDS)
    assert collector.batches == [7]
    assert counts["exported"].value == 7


def test_closing_does_not_wait_for_a_collector_that_hangs(
    make_queue: Callable[..., SpanQueue], collector: Collector, counts: dict[str, Cell]
) -> None:
    collector.may_answer.clear()
    queue = make_queue(batch_size=1)
    queue.on_end(SPAN)
    assert collector.asked.acquire(timeout=SECONDS)
    queue.on_end(SPAN)
    queue.close(0.01)
    assert counts["dropped"].value == 1


def test_what_the_end_comes_too_early_for_counts_once(
    make_queue: Callable[..., SpanQueue], collector: Collector, counts: dict[str, Cell]
) -> None:
    collector.may_answer.clear()
    collector.result = SpanExportResult.FAILURE
    queue = make_queue(batch_size=1)
    queue.on_end(SPAN)
    assert collector.asked.acquire(timeout=SECONDS)  # the thread holds this one
    queue.on_end(SPAN)
    queue.close(0.01)  # after which the collector answers, and the thread goes on
    queue.close(SECONDS)
    assert counts["dropped"].value == 2


def test_after_closing_nothing_is_taken(
    make_queue: Callable[..., SpanQueue], counts: dict[str, Cell]
) -> None:
    queue = make_queue()
    queue.close(SECONDS)
    queue.on_end(SPAN)
    assert counts["dropped"].value == 1
