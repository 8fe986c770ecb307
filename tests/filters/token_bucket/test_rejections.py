from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, Mock

import pytest

from gatewayd import Metrics
from gatewayd_filters import token_bucket
from gatewayd_filters.token_bucket import rejections
from gatewayd_filters.token_bucket.rejections import Rejections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd_filters.token_bucket.rejections import Row

NOW = 3600.0 * 500_000


class Store:
    """Keeps what is written, or fails."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.failure: Exception | None = None
        self.written = asyncio.Event()

    async def add(self, rows: Sequence[Row]) -> None:
        if self.failure is not None:
            raise self.failure
        self.rows += rows
        self.written.set()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def lost(metrics: Metrics) -> float:
    return metrics.counter("gatewayd_rate_limit_lost_records", "").labels().value


async def test_refusals_are_summed_per_minute_route_and_caller(metrics: Metrics) -> None:
    store, times = Store(), iter([NOW, NOW + 59, NOW + 59, NOW + 60])
    one = Rejections(store.add, metrics, lambda: next(times))
    for route, caller in (("a", "x"), ("a", "x"), ("a", "y"), ("a", "x")):
        one.add(route, caller)
    await one.flush()
    minute = int(NOW // 60)
    assert store.rows == [
        (minute, "a", "x", 2), (minute, "a", "y", 1), (minute + 1, "a", "x", 1)
    ]  # fmt: skip
    await one.flush()
    assert len(store.rows) == 3


async def test_long_callers_fit_the_store_and_are_told_apart(metrics: Metrics) -> None:
    """MySQL refuses the whole batch for one that does not fit."""
    store = Store()
    one = Rejections(store.add, metrics, lambda: NOW)
    callers = ["k" * 255, "k" * 256, "k" * 256, "k" * 257, "k" * 300 + "a", "k" * 300 + "b"]
    for caller in callers:
        one.add("a", caller)
    await one.flush()
    written = [(caller, count) for _, _, caller, count in store.rows]
    assert written[0] == ("k" * 255, 1)
    assert [count for _, count in written] == [1, 2, 1, 1, 1]
    assert len({caller for caller, _ in written}) == 5
    assert all(caller.startswith("kkk") and len(caller) <= 255 for caller, _ in written)


async def test_they_are_written_by_themselves(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "FLUSH_SECONDS", 0.001)
    store = Store()
    one = Rejections(store.add, metrics)
    await one.start()
    await one.start()
    one.add("a", "x")
    async with asyncio.timeout(5):
        await store.written.wait()
    await one.close()


async def test_closing_writes_what_is_left(metrics: Metrics) -> None:
    store = Store()
    one = Rejections(store.add, metrics)
    await one.start()
    one.add("a", "x")
    await one.close()
    assert len(store.rows) == 1


async def test_what_cannot_be_written_is_counted_and_told_of_once(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.failure = OSError("no space")
    one = Rejections(store.add, metrics)
    for _ in range(3):
        one.add("a", "x")
        await one.flush()
    assert (lost(metrics), len(caplog.records)) == (3, 1)
    store.failure = None
    one.add("a", "x")
    await one.flush()
    assert (lost(metrics), len(store.rows)) == (3, 1)


async def test_what_is_counted_between_two_writes_is_bounded(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "_MAX_ROWS", 2)
    store = Store()
    one = Rejections(store.add, metrics, lambda: NOW)
    for caller in ("x", "y", "z", "x"):
        one.add("a", caller)
    await one.flush()
    assert [row[2:] for row in store.rows] == [("x", 2), ("y", 1)]
    assert lost(metrics) == 1


@pytest.mark.parametrize("hangs", [False, True], ids=["fails", "takes too long"])
async def test_what_is_written_is_not_lost_where_old_rows_stay(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
) -> None:
    monkeypatch.setattr(token_bucket, "_PURGE_SECONDS", 0.01)

    async def purge(_: int) -> int:
        if hangs:
            await asyncio.Event().wait()
        raise RuntimeError("away")

    store = Mock()
    store.start, store.rate_limit_records.add = AsyncMock(), AsyncMock()
    store.rate_limit_records.purge = Mock(side_effect=purge)
    one = Rejections(partial(token_bucket._write, store), metrics, lambda: NOW)
    one.add("a", "x")
    await one.flush()
    store.rate_limit_records.purge.assert_called_once()
    assert lost(metrics) == 0
