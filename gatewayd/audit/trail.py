"""The way of audit events to the log and to the store: in batches, bounded, never waited for.

:meth:`Audit.record` only puts an event into a table in memory. A task writes that table out again
and again; while the store is away it waits there, up to a bound, and what is beyond is counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from gatewayd.audit.settings import AuditConfig
from gatewayd.store.clock import set_ahead
from gatewayd.store.errors import StoreError, StoreRefused
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gatewayd.audit.event import AuditEvent
    from gatewayd.config.schema import GatewayConfig
    from gatewayd.store.store import Store

NODE = socket.gethostname()[:128]
"""Name of this machine in the trail."""

_HOUR = 3600.0
_DAY_MICROSECONDS = 86_400_000_000
_RECORD_NOW_SECONDS = 5.0

log = logging.getLogger("gatewayd.audit")
logger = logging.getLogger("gatewayd.audit.trail")


class Audit:
    """Takes audit events; one for each worker, shared by its generations.

    Before :meth:`start`, and without a store, events are lines of the log at once.

    Args:
        config: Its settings.
        store: Where rows go; nowhere where absent.
        metrics: Where events are counted.

    """

    def __init__(
        self,
        config: AuditConfig | None = None,
        store: Store | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._config = config or AuditConfig()
        self._store = store if "store" in self._config.sinks else None
        self._waiting: dict[tuple[object, ...], dict[str, Any]] = {}
        self._unwritten: list[dict[str, Any]] = []  # logged already, and still to be stored
        self._task: asyncio.Task[None] | None = None
        self._dropping = False
        counts = (metrics or Metrics()).counter(
            "gatewayd_audit_events", "Audit events: written, or dropped.", ("result",)
        )
        self._written, self._dropped = counts.labels("written"), counts.labels("dropped")

    def record(self, event: AuditEvent) -> None:
        """Take one event; never waits, never fails."""
        if event.action in self._config.exclude:
            return
        try:
            self._take(event)
        except Exception:
            # A faulty event must not fail the exchange that it is about.
            self._dropped.value += 1
            logger.exception("an audit event cannot be written")

    def _take(self, event: AuditEvent) -> None:
        like = event.likeness
        known = self._waiting.get(like)
        if known is not None:
            known["count"] += 1
            return
        row = event.row(time.time_ns() // 1000, NODE)
        if self._task is None:
            self._log(row)
        elif len(self._waiting) + len(self._unwritten) < self._config.queue_size:
            self._waiting[like] = row
        else:
            self._drop(1)

    async def start(self) -> None:
        """Begin to write; safe to call again."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="gatewayd audit")

    async def _run(self) -> None:
        purge_at = time.monotonic() + random.uniform(0, _HOUR)  # noqa: S311  # workers take turns
        while True:
            await asyncio.sleep(self._config.interval)
            try:
                await self.flush()
                if time.monotonic() >= purge_at:
                    purge_at = time.monotonic() + _HOUR
                    await self._purge()
            except Exception:
                # Whatever it was, the trail goes on.
                logger.exception("audit events could not be written")

    async def flush(self) -> None:
        """Write what waits: all of it to the log, a batch of it to the store.

        Cancelled at any await, rows still wait. A row that was being stored just then may be stored
        twice, which is better for a trail than not at all.
        """
        waiting, self._waiting = self._waiting, {}
        self._unwritten += waiting.values()  # before anything can fail
        for row in waiting.values():
            self._log(row)
        store = self._store
        if store is None or not await _is_there(store):
            self._end_unstored()
            return
        batch = self._unwritten[: self._config.batch_size]
        if not batch:
            return
        try:
            await store.start()
            await store.audit_logs.append(batch)
        except Exception as error:
            if _is_outage(error):  # or not set up yet: the rows wait. The store logs it by itself.
                logger.debug("audit rows wait: %r", error)
                return
            logger.warning("rows that the store does not take are looked for: %r", error)
            await self._append_each(store, batch)
            return
        self._stored(batch)

    async def _append_each(self, store: Store, batch: list[dict[str, Any]]) -> None:
        """Store rows one by one, so that one that cannot be stored does not hold up the others."""
        for row in batch:
            try:
                await store.audit_logs.append([row])
            except Exception as error:
                if _is_outage(error):
                    return  # the rest waits
                logger.exception("an audit row that the store does not take is dropped")
                self._unwritten.remove(row)
                self._dropped.value += 1
            else:
                self._stored([row])

    def _stored(self, batch: list[dict[str, Any]]) -> None:
        """Forget rows that stand at the front and are in the store."""
        del self._unwritten[: len(batch)]
        self._written.value += len(batch)
        if self._dropping:
            self._dropping = False
            logger.info("audit events are written again")

    def _end_unstored(self) -> None:
        """Forget rows for which there is no store: the log has them, or nobody has."""
        logged = "log" in self._config.sinks
        (self._written if logged else self._dropped).value += len(self._unwritten)
        self._unwritten = []

    async def _purge(self) -> None:
        store = self._store
        if store is None or not await _is_there(store):
            return
        before = _passed() - self._config.retention * _DAY_MICROSECONDS
        try:
            purged = await store.audit_logs.purge(before)
        except Exception as error:
            logger.warning("old audit rows cannot be deleted: %r", error)
        else:
            if purged:
                logger.info("%d audit rows older than the retention deleted", purged)

    def _log(self, row: dict[str, Any]) -> None:
        if "log" in self._config.sinks:
            shown = {name: value for name, value in row.items() if value not in ("", {})}
            log.info("%s", orjson.dumps(shown, default=str).decode())

    def _drop(self, count: int) -> None:
        self._dropped.value += count
        if not self._dropping:
            self._dropping = True
            logger.error("audit events are dropped, as the store does not take them fast enough")

    async def close(self) -> None:
        """Write what waits, within the time for it, and stop."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(self._config.close_timeout):
                await self.flush()
                while self._unwritten:
                    before = len(self._unwritten)
                    await self.flush()
                    if len(self._unwritten) == before:
                        break  # the store is away
        except TimeoutError:
            logger.warning("the store does not take the last audit events in time")
        except Exception:
            # What has been done is done, whether it can be recorded or not.
            logger.exception("the last audit events could not be written")
        if self._unwritten:
            self._drop(len(self._unwritten))
            self._unwritten = []


def _passed() -> int:
    """Return the time by which rows are old, in microseconds of the Unix clock."""
    ahead = set_ahead()
    if ahead > _DAY_MICROSECONDS:
        text = "the clock is %d days ahead since the start: audit rows are kept as if it were not"
        logger.warning(text, ahead // _DAY_MICROSECONDS)
    return time.time_ns() // 1000 - ahead


async def _is_there(store: Store) -> bool:
    """Whether a store is there to be written to: an embedded one may not have been made."""
    if not store.embedded:
        return True
    file = Path(store.config.url.removeprefix("sqlite:///"))
    try:
        return await asyncio.to_thread(file.exists)
    except OSError:
        return True  # there, or not: it cannot be opened, and that is told then


def _is_outage(error: Exception) -> bool:
    """Whether it says nothing of the rows themselves."""
    return isinstance(error, StoreError) and not isinstance(error, StoreRefused)


async def record_now(
    config: GatewayConfig, event: AuditEvent, metrics: Metrics | None = None
) -> None:
    """Write one event at once, of something that has been done; never fails.

    It is for processes that serve nothing, such as commands.

    Args:
        config: The configuration, for the settings of trail and store.
        event: The event.
        metrics: Where it is counted.

    A store that is away costs no more than a few seconds; the event is in the log all the same.
    """
    from gatewayd.store.store import Store

    if event.action in config.audit.exclude:
        return
    store = Store(config.store)
    settings = config.audit.model_copy(update={"close_timeout": _RECORD_NOW_SECONDS})
    audit = Audit(settings, store, metrics)
    try:
        await audit.start()
        audit.record(event)
    finally:
        await audit.close()
        await store.close()
