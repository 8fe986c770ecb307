"""The history of breakers: what a node that starts again remembers."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gatewayd import (
    BreakerChange,
    BreakerOpen,
    BreakerState,
    BreakerTransition,
    ConfigError,
    ConnectFailure,
    Store,
)
from gatewayd.store.settings import StoreConfig
from gatewayd.testing import FakeClock, Recorder, make_exchange, make_gateway, make_service, running
from gatewayd_filters.breaker import BreakerFilter
from gatewayd_filters.breaker.history import KEPT_DAYS, MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gatewayd import Exchange

SETTINGS = {"consecutive_failures": 1, "open_for": 60, "persist": True}
URL = "http://127.0.0.1:9101"


@asynccontextmanager
async def node(folder: Path, **settings: object) -> AsyncIterator[tuple[BreakerFilter, Exchange]]:
    """Run a node's breaker with an exchange for its instance; the store is that of the folder."""
    store = Store(StoreConfig(url=f"sqlite:///{folder}/gatewayd.db"))
    service = make_service("shop", URL)
    gateway = make_gateway(clock=FakeClock(), services={"shop": service}, store=store)
    values = {"service": service, "instance": service.available[0]}
    async with running(BreakerFilter, SETTINGS | settings, gateway=gateway) as breaker:
        yield breaker, make_exchange(values=values)
    await store.close()


async def fail(breaker: BreakerFilter, exchange: Exchange) -> None:
    with pytest.raises(ConnectFailure):
        await breaker(exchange, Recorder(ConnectFailure("refused", sent=False)))


@pytest.mark.parametrize("scope", ["instance", "service"])
async def test_a_breaker_that_was_open_is_open_after_a_restart(tmp_path: Path, scope: str) -> None:
    async with node(tmp_path, scope=scope) as (breaker, exchange):
        await fail(breaker, exchange)
    async with node(tmp_path, scope=scope) as (breaker, exchange):
        with pytest.raises(BreakerOpen):
            await breaker(exchange, Recorder())


async def test_without_persist_it_is_closed(tmp_path: Path) -> None:
    async with node(tmp_path) as (breaker, exchange):
        await fail(breaker, exchange)
    async with node(tmp_path, persist=False) as (breaker, exchange):
        assert (await breaker(exchange, Recorder())).status == 200


async def test_it_stays_open_for_what_was_left_of_its_time(tmp_path: Path) -> None:
    store = Store(StoreConfig(url=f"sqlite:///{tmp_path}/gatewayd.db"))
    await store.start()
    async with node(tmp_path) as (breaker, _):
        assert breaker._history is not None
        name = breaker._history._node
    now = time.time_ns() // 1000
    past = BreakerTransition(name, "shop", URL, "open", now - 10_000_000, now - 1)
    await store.breaker_states.record([past])
    await store.close()
    async with node(tmp_path) as (breaker, exchange):
        assert (await breaker(exchange, Recorder())).status == 200


async def test_transitions_are_kept(tmp_path: Path) -> None:
    async with node(tmp_path) as (breaker, exchange):
        await fail(breaker, exchange)
        assert breaker._history is not None
        await breaker._history.flush()
        (row,) = await breaker.gateway.store.breaker_states.latest(breaker._history._node)  # type: ignore[union-attr]
    assert (row.service, row.instance, row.state) == ("shop", URL, "open")
    assert row.until is not None
    assert row.until - row.at == 60_000_000


async def test_all_that_waits_is_written_at_the_end(tmp_path: Path) -> None:
    change = BreakerChange("", BreakerState.CLOSED, BreakerState.OPEN)
    urls = [f"http://127.0.0.1:{port}" for port in range(1000, 1000 + 2 * MAX_BATCH + 1)]
    async with node(tmp_path) as (breaker, _):
        history = breaker._history
        assert history is not None
        for url in urls:
            history.note("shop", url, change, 60)
        await breaker.gateway.close()
        store = breaker.gateway.store
        assert store is not None
        rows = await store.breaker_states.latest(history._node)
    assert {row.instance for row in rows} == set(urls)


async def test_only_what_is_older_than_it_is_kept_for_is_deleted(tmp_path: Path) -> None:
    now, day = time.time_ns() // 1000, 86_400_000_000
    async with node(tmp_path) as (breaker, _):
        history, store = breaker._history, breaker.gateway.store
        assert history is not None
        assert store is not None
        await store.breaker_states.record(
            [
                BreakerTransition(history._node, "shop", name, "closed", at, None)
                for name, at in (
                    ("now", now),
                    ("kept", now - (KEPT_DAYS - 1) * day),
                    ("old", now - (KEPT_DAYS + 1) * day),
                )
            ]
        )
        await history._purge()
        rows = await store.breaker_states.latest(history._node)
    assert {row.instance for row in rows} == {"now", "kept"}


async def test_a_store_that_is_away_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gatewayd.db").mkdir()
    async with node(tmp_path) as (breaker, exchange):
        await fail(breaker, exchange)
        with pytest.raises(BreakerOpen):
            await breaker(exchange, Recorder())
    assert "the history of breakers cannot be read" in caplog.text


async def test_persist_needs_a_store() -> None:
    with pytest.raises(ConfigError, match="needs the store"):
        async with running(BreakerFilter, SETTINGS):
            pytest.fail("started")
