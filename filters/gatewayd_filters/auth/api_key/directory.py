"""How the API keys in memory are kept up to date, and survive a start without the database.

A task looks into the database every few seconds, and at once when Redis says that something has
changed; what it costs does not depend on the number of keys, as only changed ones are read.

Versions tell what has changed, and can deceive: a node of the database that takes over without the
last commits may give their versions to other changes, and SQL by hand gives none. Therefore all
keys are compared with the table now and then, in batches between which everything else goes on.

A row that cannot be read, as after a mistake in SQL, costs its own key and no other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd import GatewayError, UnreadableApiKey, read_pepper
from gatewayd_filters.auth.api_key.keys import Keys
from gatewayd_filters.auth.api_key.snapshot import SnapshotFile
from gatewayd_filters.auth.private_file import database_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd import ApiKeyRecord, Metrics, Redis, Store
    from gatewayd_filters.auth.api_key.config import ApiKeyConfig
    from gatewayd_filters.auth.api_key.known import KnownKey

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
COMPARE_INTERVAL = 300.0
"""Seconds from one comparison of all keys to the next; as many again by chance, so that workers and
nodes do not compare at once."""
COMPARE_PAUSE = 0.1
"""Seconds between two batches of a comparison."""
BATCH = 1000

logger = logging.getLogger("gatewayd.filters.auth")


class _Comparison:
    """All keys as they are being read again.

    Attributes:
        keys: Those that were read so far, and what has changed meanwhile.
        left_out: For how many there was no room.
        unreadable: Ids of those whose rows cannot be read.
        version: Of the last one that was read.

    """

    __slots__ = ("keys", "left_out", "unreadable", "version")

    def __init__(self) -> None:
        self.keys: dict[str, KnownKey] = {}
        self.left_out = 0
        self.unreadable: set[str] = set()
        self.version = 0

    def add(self, known: Keys, records: Sequence[ApiKeyRecord | UnreadableApiKey]) -> None:
        """Take over what was read."""
        self.left_out += known.apply(self.keys, records)
        self.unreadable.update(one.id for one in records if isinstance(one, UnreadableApiKey))


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
        self._next_comparison = self._after_comparison()
        self._comparison: _Comparison | None = None
        self._comparison_failed = False
        self._task: asyncio.Task[None] | None = None
        source = "" if store is None else database_of(store)
        self._file = SnapshotFile(Path(config.snapshot_file), source)
        failures = metrics.counter(
            "gatewayd_api_key_failures", "Failed accesses to API keys, by what failed.", ("step",)
        )
        self._failures = {
            step: failures.labels(step) for step in ("read", "row", "compare", "touch", "snapshot")
        }
        self._differences = metrics.counter(
            "gatewayd_api_key_differences",
            "API keys that a comparison with the whole table has put right.",
        ).labels()

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
        if self._comparison is not None:
            return COMPARE_PAUSE
        return self._config.poll_interval if self._redis is None else self._config.redis_interval

    async def turn(self) -> None:
        """Do what is due: ask Redis, look into the database, write down uses, compare."""
        now = self._clock()
        if await self._changed_in_redis() or now >= self._next_look:
            await self._look()
        if now >= self._next_touch:
            self._next_touch = now + TOUCH_INTERVAL
            await self._write_used()
        # Where looks fail, a comparison would, too.
        if now >= self._next_comparison and self.keys.failure is None:
            await self._compare()

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
            self._comparison = None  # another node may go on, in which keys have other versions
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
        by_id, version, left_out = keys.by_id, keys.version, keys.left_out
        if anew:
            logger.info("all API keys are read again")
            by_id, version, left_out = {}, 0, 0
            self._comparison = None  # of a database that was another one
        while version < latest:
            records = await self._changed_since(version)
            if not records:
                break
            left_out += keys.apply(by_id, records)
            version = records[-1].version
            if not anew:
                keys.version, keys.left_out = version, left_out
                if self._comparison is not None:
                    self._comparison.add(keys, records)
        keys.by_id, keys.version, keys.left_out = by_id, version, left_out
        keys.count()
        if anew:
            self._next_comparison = self._after_comparison()
        await self._read_pepper()

    async def _changed_since(self, version: int) -> Sequence[ApiKeyRecord | UnreadableApiKey]:
        if self._store is None:
            raise GatewayError("there is no store")
        async with asyncio.timeout(QUERY_TIMEOUT):
            records = await self._store.api_keys.changed_since(version, limit=BATCH)
        self._failures["row"].value += self.keys.note_unreadable(records)
        return records

    async def _read_pepper(self) -> None:
        """Read the pepper's file as soon as there is one: it is made with the first key."""
        if self.keys.pepper is None:
            self.keys.pepper = await asyncio.to_thread(read_pepper, Path(self._config.pepper_file))

    # --- comparing all keys -----------------------------------------------------------------

    def _after_comparison(self) -> float:
        return self._clock() + COMPARE_INTERVAL * random.uniform(1.0, 2.0)  # noqa: S311

    async def _compare(self) -> None:
        """Read the next batch of all keys; after the last one they take the place of those in use.

        Where that fails, those in use remain, and it begins again after as long as looks have in
        between: another node may answer then, in which keys have other versions.
        """
        if self._comparison is None:
            self._comparison = _Comparison()
        comparison = self._comparison
        try:
            records = await self._changed_since(comparison.version)
            comparison.add(self.keys, records)
        except Exception as error:  # of the database, or its driver
            self._comparison = None
            self._next_comparison = self._clock() + self._config.poll_interval * 0.75
            self._failures["compare"].value += 1
            if not self._comparison_failed:
                self._comparison_failed = True
                logger.warning("API keys cannot be compared with the whole table: %r", error)
            return
        if records:
            comparison.version = records[-1].version
        if len(records) == BATCH:
            return
        # What has changed meanwhile is no difference, once it is known here, too. And a replica
        # that lags may have been asked: what it lacks has versions above the last it gave.
        self.keys.version = min(self.keys.version, comparison.version)
        await self._look()
        if self.keys.failure is None and self._comparison is comparison:
            await self._take_over(comparison)

    async def _take_over(self, comparison: _Comparison) -> None:
        keys = self.keys
        # In a thread, as it takes a moment; this task alone changes them.
        differ = await asyncio.to_thread(keys.differences, comparison.keys)
        keys.by_id, keys.left_out = comparison.keys, comparison.left_out
        keys.keep_unreadable(comparison.unreadable)
        keys.count()
        self._comparison = None
        self._comparison_failed = False
        self._next_comparison = self._after_comparison()
        if differ:
            self._differences.value += differ
            logger.warning("%d API keys were not as in the database, and are now", differ)
            self._saved_version = None  # the version is the same, and what it stands for is not
            if self._config.on_outage == "stale":
                await self._write_file()

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
        keys.left_out += keys.apply(keys.by_id, snapshot.records)
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
