"""How the API keys in memory are kept up to date, and survive a start without the database.

A task looks into the database every few seconds, and at once when Redis says that something has
changed; what it costs does not depend on the number of keys, as only changed ones are read.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd import GatewayError, read_pepper
from gatewayd_filters.auth.api_key.keys import Keys
from gatewayd_filters.auth.api_key.snapshot import SnapshotFile
from gatewayd_filters.auth.private_file import database_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd import Metrics, Redis, Store
    from gatewayd_filters.auth.api_key.config import ApiKeyConfig

TOPIC = "api_keys"
"""What the version in Redis is called."""
QUERY_TIMEOUT = 2.0
"""Seconds that one query may take."""
RETRY = 1.0
"""Seconds until the database is tried again that was away, so that its return is soon noticed."""
TOUCH_INTERVAL = 30.0
"""Seconds between two writes of when keys were last used."""
CONFIRM_INTERVAL = 10.0
"""Seconds between two confirmations of the snapshot file."""
BATCH = 1000

logger = logging.getLogger("gatewayd.filters.auth")


class KeyDirectory:
    """The keys of one database.

    Args:
        config: Settings.
        store: The database, ``None`` in tests of what needs none.
        redis: Tells of changes; ``None`` where there is no Redis.
        clock: Monotonic seconds.
        metrics: Where keys and failures are counted.
        now: Seconds of the Unix clock.

    Attributes:
        keys: The keys.

    """

    def __init__(
        self,
        config: ApiKeyConfig,
        store: Store | None,
        redis: Redis | None,
        *,
        clock: Callable[[], float],
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.keys = Keys(config, clock, metrics)
        self._config = config
        self._store = store
        self._redis = redis
        self._clock = clock
        self._now = now
        self._seen_in_redis: int | None = None
        self._saved_version: int | None = None
        self._next_look = self._next_touch = self._next_confirm = float("-inf")
        self._task: asyncio.Task[None] | None = None
        source = "" if store is None else database_of(store)
        self._file = SnapshotFile(Path(config.snapshot_file), source)
        failures = metrics.counter(
            "gatewayd_api_key_failures", "Failed accesses to API keys, by what failed.", ("step",)
        )
        self._failures = {step: failures.labels(step) for step in ("read", "touch", "snapshot")}

    # --- keeping up to date ------------------------------------------------------------------

    async def start(self) -> None:
        """Read the keys, from the file where the database is away; safe to call again."""
        if self._task is not None:
            return
        if self._redis is not None:
            await self._redis.start()
        if self._store is not None:
            await self._store.start()
        await self.turn()
        if self.keys.version == 0 and self.keys.failure and self._config.on_outage == "stale":
            await self._load_file()
        self._task = asyncio.create_task(self._run(), name="gatewayd API keys")

    async def close(self) -> None:
        """Stop, and write down what is not written down yet."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            await self._write_used()

    async def _run(self) -> None:
        while True:
            # Workers and nodes must not ask in step.
            await asyncio.sleep(self._pause() * random.uniform(0.8, 1.0))  # noqa: S311
            try:
                await self.turn()
            except Exception:  # a defect must not end the task: nobody would notice
                logger.exception("API keys cannot be kept up to date")

    def _pause(self) -> float:
        if self.keys.failure is not None:
            return RETRY
        return self._config.poll_interval if self._redis is None else self._config.redis_interval

    async def turn(self) -> None:
        """Do what is due: ask Redis, look into the database, write down uses."""
        now = self._clock()
        if await self._changed_in_redis() or now >= self._next_look:
            await self._look()
        if now >= self._next_touch:
            self._next_touch = now + TOUCH_INTERVAL
            await self._write_used()

    async def _changed_in_redis(self) -> bool:
        """Whether Redis tells of a change. Where it is away, the database is asked in time."""
        if self._redis is None:
            return False
        try:
            version = await self._redis.version(TOPIC)
        except Exception as error:  # whatever a client library raises; Redis logs its outages
            logger.debug("Redis does not tell of changed API keys: %r", error)
            return False
        changed, self._seen_in_redis = version != self._seen_in_redis, version
        return changed

    async def _look(self) -> None:
        """Read what has changed; keep what is known where that fails."""
        # The moment before: a change that is committed while we read may be missed.
        now = self._clock()
        try:
            await self._read()
        except Exception as error:  # of the database, its driver, or the pepper's file
            self._failures["read"].value += 1
            self._seen_in_redis = None
            if self.keys.failure is None:
                logger.warning("API keys cannot be read: %r", error)
            self.keys.failure = f"{type(error).__name__}: {error}"
            return
        if self.keys.failure is not None:
            logger.info("API keys can be read again")
            self.keys.failure = None
        self._next_look = now + self._config.poll_interval * 0.75  # below every pause
        self.keys.known_at(now)
        if self._config.on_outage == "stale":
            await self._write_file()

    async def _read(self) -> None:
        """Read what has changed since the last time."""
        if self._store is None:
            raise GatewayError("there is no store")
        table = self._store.api_keys
        async with asyncio.timeout(QUERY_TIMEOUT):
            latest = await table.latest_version()
        keys = self.keys
        anew = keys.must_start_over(latest)
        if anew:
            logger.info("all API keys are read again")
        version, by_id = (0, keys.start_over()) if anew else (keys.version, keys.by_id)
        while version < latest:
            async with asyncio.timeout(QUERY_TIMEOUT):
                records = await table.changed_since(version, limit=BATCH)
            if not records:
                break
            keys.apply(by_id, records)
            version = records[-1].version
            if not anew:
                keys.version = version
        keys.by_id, keys.version = by_id, version
        keys.count()
        await self._read_pepper()

    async def _read_pepper(self) -> None:
        """Read the pepper's file as soon as there is one: it is made with the first key."""
        if self.keys.pepper is None:
            self.keys.pepper = await asyncio.to_thread(read_pepper, Path(self._config.pepper_file))

    # --- the file, and uses ------------------------------------------------------------------

    async def _load_file(self) -> None:
        try:
            await self._read_pepper()
            if self.keys.pepper is None:
                return
            load = self._file.load
            snapshot = await asyncio.to_thread(load, self.keys.pepper, self._config.max_keys)
        except FileNotFoundError:
            logger.warning("there is no %s either: no API key can be judged", self._file.path)
            return
        except (OSError, ValueError, GatewayError) as error:
            self._failures["snapshot"].value += 1
            logger.warning("the snapshot of API keys cannot be used: %s", error)
            return
        age = max(self._now() - snapshot.saved_at, 0.0)
        keys = self.keys
        keys.apply(keys.by_id, snapshot.records)
        keys.version = snapshot.version
        keys.count()
        keys.usable_until = self._clock() - age + self._config.max_stale
        logger.warning("%d API keys as they were %.0f s ago are used", len(keys.by_id), age)

    async def _write_file(self) -> None:
        """Write what is known, or that what was written is true still; never of older content."""
        now, version, pepper = self._clock(), self.keys.version, self.keys.pepper
        if pepper is None or (version == self._saved_version and now < self._next_confirm):
            return
        records = [known.record for known in self.keys.by_id.values()]
        try:
            if version != self._saved_version:
                await asyncio.to_thread(self._file.save, pepper, version, records)
                self._saved_version = version
            else:
                await asyncio.to_thread(self._file.confirm)
        except OSError as error:
            self._failures["snapshot"].value += 1
            self._saved_version = None
            logger.warning("the snapshot of API keys cannot be written: %s", error)
        self._next_confirm = now + CONFIRM_INTERVAL

    async def _write_used(self) -> None:
        """Write down when keys were last used; where that fails, it is tried again later."""
        if not self.keys.used or self._store is None:
            return
        used, self.keys.used = self.keys.used, {}
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                moments = {key_id: int(moment * 1e6) for key_id, moment in used.items()}
                await self._store.api_keys.touch(moments)
        except Exception as error:
            self._failures["touch"].value += 1
            self.keys.used = {**used, **self.keys.used}  # no more than there are keys
            logger.debug("uses of API keys cannot be written: %r", error)
