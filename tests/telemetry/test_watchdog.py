"""What stops the event loop is named while it lasts."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gatewayd import Exchange, Filter, FilterConfig, Forward, Response
from gatewayd.telemetry.metrics import Metrics
from gatewayd.telemetry.watchdog import Watchdog
from gatewayd.testing import Recorder, make_exchange, make_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


class Reported(logging.Handler):
    """Notes what is logged, and that it was."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.arrived = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.arrived.set()


class Sleepy(Filter[FilterConfig]):
    """Waits the old way until somebody complains."""

    name = "sleepy"
    reported: Reported

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        assert self.reported.arrived.wait(20)
        return await forward(exchange)


@asynccontextmanager
async def watched(metrics: Metrics) -> AsyncIterator[Reported]:
    reported = Reported()
    logger = logging.getLogger("gatewayd.watchdog")
    logger.addHandler(reported)
    watchdog = Watchdog(metrics, 0.05)
    try:
        yield reported
    finally:
        await watchdog.close()
        logger.removeHandler(reported)


def stalls(metrics: Metrics, name: str) -> float:
    return metrics.counter("gatewayd_event_loop_stalls", "", ("filter",)).labels(name).value


async def test_a_filter_that_blocks_is_named_with_its_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    async with watched(metrics) as reported:
        sleepy = Sleepy(FilterConfig(), make_gateway())
        sleepy.reported = reported
        await sleepy(make_exchange(), Recorder())
    assert "in filter sleepy:" in reported.messages[0]
    assert "reported.arrived.wait" in reported.messages[0]
    assert stalls(metrics, "sleepy") == 1


async def test_where_no_filter_runs_nobody_is_blamed() -> None:
    metrics = Metrics()
    async with watched(metrics) as reported:
        assert reported.arrived.wait(20)
    assert "in no filter:" in reported.messages[0]
    assert stalls(metrics, "none") == 1


async def test_a_stall_is_told_once() -> None:
    metrics = Metrics()
    async with watched(metrics) as reported:
        assert reported.arrived.wait(20)
        reported.arrived.clear()
        assert not reported.arrived.wait(0.5)  # it goes on, and is not told again
    assert len(reported.messages) == 1


async def test_lateness_is_measured() -> None:
    metrics = Metrics()
    lag = metrics.histogram(
        "gatewayd_event_loop_lag_seconds",
        "",
        bounds=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    ).labels()
    async with watched(metrics):
        async with asyncio.timeout(20):
            while not sum(lag.counts):  # noqa: ASYNC110  # nobody tells of it
                await asyncio.sleep(0.01)
    assert sum(lag.counts) >= 1


async def test_nothing_is_left_after_it() -> None:
    tasks, threads = asyncio.all_tasks(), threading.enumerate()
    async with watched(Metrics()):
        pass
    assert asyncio.all_tasks() == tasks
    assert [
        one for one in threading.enumerate() if one not in threads and "watch" in one.name
    ] == []
