"""The audit trail: written in batches, bounded, never waited for."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.audit import Audit, AuditEvent, record_now
from gatewayd.audit import trail as trail_module
from gatewayd.audit.settings import AuditConfig
from gatewayd.config.schema import GatewayConfig
from gatewayd.store.settings import StoreConfig
from gatewayd.store.setup import initialize
from gatewayd.store.store import Store
from gatewayd.telemetry.metrics import Metrics
from tests.support.mariadb import MariaDb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

FAILURE = AuditEvent("authentication", "failure", reason="expired", client="192.0.2.1")
DENIAL = AuditEvent("access", "denied", reason="no role", actor="ada", route="items")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(StoreConfig(url=f"sqlite:///{tmp_path}/gatewayd.db"))
    await made.start()
    yield made
    await made.close()


class Trail:
    """An audit trail whose turns the test makes."""

    def __init__(self, store: Store | None, **settings: Any) -> None:
        self.metrics = Metrics()
        config = AuditConfig.model_validate({"interval": 86_400, **settings})
        self.audit = Audit(config, store, self.metrics)

    async def __aenter__(self) -> Audit:
        await self.audit.start()
        return self.audit

    async def __aexit__(self, *_: object) -> None:
        await self.audit.close()

    def count(self, result: str) -> float:
        return self.metrics.counter("gatewayd_audit_events", "", ("result",)).labels(result).value


async def test_events_become_rows(store: Store) -> None:
    async with Trail(store) as audit:
        audit.record(DENIAL)
        await audit.flush()
        (row,) = await store.audit_logs.recent()
    assert (row["action"], row["outcome"], row["actor"]) == ("access", "denied", "ada")
    assert (row["reason"], row["route"], row["count"]) == ("no role", "items", 1)


async def test_what_waits_at_the_end_is_written(store: Store) -> None:
    trail = Trail(store, batch_size=2)
    async with trail as audit:
        for number in range(5):
            audit.record(AuditEvent("key.create", "success", actor=str(number)))
    assert len(await store.audit_logs.recent()) == 5
    assert trail.count("written") == 5


async def test_failures_that_are_alike_are_one_row_with_a_count(store: Store) -> None:
    async with Trail(store) as audit:
        for number in range(1000):
            path = f"/{number}"
            audit.record(AuditEvent("authentication", "failure", "expired", str(number), path=path))
        await audit.flush()
        (row,) = await store.audit_logs.recent()
    assert row["count"] == 1000


@pytest.mark.parametrize(
    "other",
    [
        AuditEvent("authentication", "failure", reason="issuer", client="192.0.2.1"),
        AuditEvent("authentication", "failure", reason="expired", client="192.0.2.2"),
        AuditEvent("authentication", "failure", reason="expired", client="192.0.2.1", route="a"),
    ],
)
async def test_failures_that_differ_are_rows_of_their_own(store: Store, other: AuditEvent) -> None:
    async with Trail(store) as audit:
        audit.record(FAILURE)
        audit.record(other)
        await audit.flush()
        assert len(await store.audit_logs.recent()) == 2


async def test_denials_of_different_callers_are_rows_of_their_own(store: Store) -> None:
    async with Trail(store) as audit:
        for actor in ("ada", "bob"):
            audit.record(AuditEvent("access", "denied", reason="no role", actor=actor))
        await audit.flush()
        assert len(await store.audit_logs.recent()) == 2


async def test_every_success_is_a_row_of_its_own(store: Store) -> None:
    async with Trail(store) as audit:
        for _ in range(3):
            audit.record(AuditEvent("key.create", "success", actor="ada"))
        await audit.flush()
        assert len(await store.audit_logs.recent()) == 3


async def test_what_is_beyond_the_bound_is_dropped_and_counted(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    trail = Trail(store, queue_size=10)
    async with trail as audit:
        for number in range(25):
            audit.record(AuditEvent("authentication", "failure", client=f"192.0.2.{number}"))
        assert trail.count("dropped") == 15
        await audit.flush()
        assert len(await store.audit_logs.recent()) == 10
    messages = [one.message for one in caplog.records if "dropped" in one.message]
    assert len(messages) == 1  # once, and not for each


async def test_long_texts_are_cut_to_the_columns(store: Store) -> None:
    async with Trail(store) as audit:
        audit.record(AuditEvent("access", "denied", reason="r" * 999, path="/" * 5000))
        await audit.flush()
        (row,) = await store.audit_logs.recent()
    assert (len(row["reason"]), len(row["path"])) == (255, 1024)


async def test_events_are_lines_of_json_that_nobody_can_forge(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gatewayd.audit")
    async with Trail(None) as audit:
        audit.record(
            AuditEvent("access", "denied", path='/a\n{"action":"forged"}', actor="\x1b[2J")
        )
        await audit.flush()
    (record,) = [one for one in caplog.records if one.name == "gatewayd.audit"]
    line = record.getMessage()
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["path"] == '/a\n{"action":"forged"}'


@pytest.mark.parametrize(
    ("event", "column", "value"),
    [
        (AuditEvent("access", "denied", actor="a\ud800b"), "actor", "a?b"),
        (AuditEvent("x", "success", detail={"\udfff": ["\ud800"]}), "detail", {"?": ["?"]}),
        (AuditEvent("x", "success", detail={"d": 1, "p": {1}}), "detail", {"d": 1, "p": "{1}"}),
        (AuditEvent("x", "success", detail={"d": "y" * 5000}), "detail", {"omitted_bytes": 5009}),
    ],
)
async def test_what_a_sink_cannot_take_is_made_harmless(
    store: Store, event: AuditEvent, column: str, value: Any
) -> None:
    trail = Trail(store)
    trail.audit.record(event)  # not started: a line of the log
    async with trail as audit:
        audit.record(event)
        audit.record(DENIAL)
        await audit.flush()
        rows = await store.audit_logs.recent()
    assert (len(rows), rows[-1][column]) == (2, value)
    assert trail.count("dropped") == 0


async def test_an_event_that_cannot_be_told_fails_nobody_and_is_counted() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    trail = Trail(None)
    async with trail as audit:
        audit.record(AuditEvent("x", "success", detail=circle))
    assert trail.count("dropped") == 1


async def test_a_row_that_the_store_does_not_take_holds_up_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = store.audit_logs.append

    async def picky(rows: Sequence[Mapping[str, Any]]) -> None:
        if any(row["actor"] == "poison" for row in rows):
            raise ValueError("not this one")
        await append(rows)

    monkeypatch.setattr(store.audit_logs, "append", picky)
    trail = Trail(store)
    async with trail as audit:
        for actor in ("a", "poison", "b"):
            audit.record(AuditEvent("key.create", "success", actor=actor))
        await audit.flush()
        stored = [row["actor"] for row in await store.audit_logs.recent()]
    assert stored == ["b", "a"]
    assert (trail.count("written"), trail.count("dropped")) == (2, 1)


async def test_a_flush_that_is_cancelled_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def hung() -> None:
        reached.set()
        await asyncio.Event().wait()

    trail = Trail(store)
    async with trail as audit:
        with monkeypatch.context() as patch:
            patch.setattr(store, "start", hung)
            audit.record(DENIAL)
            flushing = asyncio.create_task(audit.flush())
            await reached.wait()
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)
    assert len(await store.audit_logs.recent()) == 1


async def test_a_turn_that_fails_does_not_end_the_trail(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, again = asyncio.Event(), asyncio.Event()

    async def flush() -> None:
        if failed.is_set():
            again.set()
            return
        failed.set()
        raise RuntimeError("unexpected")

    trail = Trail(store, interval=0.01)
    monkeypatch.setattr(trail.audit, "flush", flush)
    async with trail, asyncio.timeout(5):
        await again.wait()


async def test_a_purge_that_fails_does_not_end_the_trail(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = asyncio.Event()
    purges = 0

    async def purge() -> None:
        nonlocal purges
        purges += 1
        if purges == 2:
            again.set()
        raise RuntimeError("unexpected")

    monkeypatch.setattr(trail_module, "_HOUR", 0.0)
    trail = Trail(store, interval=0.01)
    monkeypatch.setattr(trail.audit, "_purge", purge)
    async with trail, asyncio.timeout(5):
        await again.wait()


async def test_what_goes_nowhere_is_counted_as_dropped(tmp_path: Path) -> None:
    store = Store(StoreConfig(url=f"sqlite:///{tmp_path}/var/gatewayd.db"))
    trail = Trail(store, sinks=["store"])
    async with trail as audit:
        audit.record(DENIAL)
        await audit.flush()
    await store.close()
    assert (trail.count("written"), trail.count("dropped")) == (0, 1)


@pytest.mark.parametrize(
    ("sinks", "lines", "rows"),
    [(["log", "store"], 1, 1), (["store"], 0, 1), (["log"], 1, 0), ([], 0, 0)],
)
async def test_events_go_to_the_sinks_that_are_named(
    store: Store, caplog: pytest.LogCaptureFixture, sinks: list[str], lines: int, rows: int
) -> None:
    caplog.set_level(logging.INFO, "gatewayd.audit")
    async with Trail(store, sinks=sinks) as audit:
        audit.record(DENIAL)
        await audit.flush()
    assert [one.name for one in caplog.records].count("gatewayd.audit") == lines
    assert len(await store.audit_logs.recent()) == rows


async def test_actions_may_be_left_out(store: Store) -> None:
    async with Trail(store, exclude=["access"]) as audit:
        audit.record(DENIAL)
        await audit.flush()
        assert await store.audit_logs.recent() == []


async def test_an_embedded_store_is_not_made_for_the_trail_alone(tmp_path: Path) -> None:
    store = Store(StoreConfig(url=f"sqlite:///{tmp_path}/var/gatewayd.db"))
    async with Trail(store) as audit:
        audit.record(DENIAL)
        await audit.flush()
    await store.close()
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_rows_are_deleted_after_the_retention(store: Store) -> None:
    old = DENIAL.row(1, "n1")
    await store.audit_logs.append([old])
    async with Trail(store) as audit:
        audit.record(FAILURE)
        await audit.flush()
        await audit._purge()
    assert [row["action"] for row in await store.audit_logs.recent()] == ["authentication"]


async def test_a_clock_that_is_set_ahead_makes_no_row_old(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time_ns()
    await store.audit_logs.append([DENIAL.row(now // 1000, "n1")])
    monkeypatch.setattr(time, "time_ns", lambda: now + 9_601 * 3_600_000_000_000)
    async with Trail(store) as audit:
        await audit._purge()
    assert len(await store.audit_logs.recent()) == 1
    assert "the clock is 400 days ahead since the start" in caplog.text


async def test_a_clock_that_is_set_ahead_by_less_than_a_day_is_not_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 23 * 3_600_000_000_000)
    async with Trail(store) as audit:
        await audit._purge()
    assert "ahead" not in caplog.text


async def test_one_event_at_once(store: Store, tmp_path: Path) -> None:
    config = GatewayConfig(store=StoreConfig(url=f"sqlite:///{tmp_path}/gatewayd.db"))
    await record_now(config, DENIAL)
    assert len(await store.audit_logs.recent()) == 1


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.ENAMETOOLONG, "File name too long"),
        RuntimeError("unforeseen"),
    ],
)
async def test_an_event_that_cannot_be_stored_fails_nobody_and_is_counted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(_: Path) -> bool:
        raise error

    monkeypatch.setattr(trail_module.Path, "exists", fail)
    config = GatewayConfig(store=StoreConfig(url=f"sqlite:///{tmp_path}/{'a' * 300}.db"))
    metrics = Metrics()
    caplog.set_level(logging.INFO, "gatewayd.audit")
    await record_now(config, DENIAL, metrics)
    events = metrics.counter("gatewayd_audit_events", "", ("result",))
    assert events.labels("dropped").value == 1
    assert '"action":"access"' in caplog.text


async def test_events_wait_while_the_store_is_away(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with MariaDb(tmp_path_factory.mktemp("audit")) as server:
        config = StoreConfig(
            url=server.url("gateway_audit"), timeout=0.5, connect_timeout=0.5, retries=0
        )
        await initialize(config)
        store = Store(config)
        trail = Trail(store, queue_size=3)
        async with trail as audit:
            server.signal(signal.SIGKILL)
            server.wait()
            for number in range(5):
                audit.record(AuditEvent("key.create", "success", actor=str(number)))
            async with asyncio.timeout(10):
                await audit.flush()
            assert (trail.count("written"), trail.count("dropped")) == (0, 2)
            server.start()
            await audit.flush()
            assert len(await store.audit_logs.recent()) == 3
        await store.close()
    assert (trail.count("written"), trail.count("dropped")) == (3, 2)
