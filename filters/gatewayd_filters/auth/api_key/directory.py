"""All API keys in memory, and how they are kept up to date.

A task looks into the database every few seconds, and at once when Redis says that something has
changed; what it costs does not depend on the number of keys, as only changed ones are read.
Requests are judged by what is in memory, and by how long ago that was known to be true:

====================  ==========================  =====================================
last look             a key that is known         a key that is not
====================  ==========================  =====================================
fresh                 good                        invalid
older, ``stale``      good, up to ``max_stale``   cannot be judged: it may be a new one
older, ``closed``     cannot be judged            cannot be judged
====================  ==========================  =====================================
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd import AuthUnavailable, GatewayError, read_pepper
from gatewayd_filters.auth.api_key.known import KnownKey
from gatewayd_filters.auth.api_key.snapshot import SnapshotFile, database_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd import ApiKeyRecord, Metrics, Redis, Store
    from gatewayd_filters.auth.api_key.config import ApiKeyConfig

TOPIC = "api_keys"
"""What the version in Redis is called."""
FRESH = 10.0
"""Seconds after a look for which what was seen counts as the present."""
QUERY_TIMEOUT = 2.0
"""Seconds that one query may take."""
RETRY = 1.0
"""Seconds until the database is tried again that was away, so that its return is soon noticed."""
TOUCH_INTERVAL = 30.0
"""Seconds between two writes of when keys were last used."""
CONFIRM_INTERVAL = 10.0
"""Seconds between two confirmations of the snapshot file."""
BATCH = 1000
_REMEMBERED_REVOKED = 10_000
_REMEMBERED_CHECKED = 10_000  # 3 MB; whoever has more keys in use pays for their hash

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
        keys: Every key that is not revoked, by id.
        pepper: What secrets are hashed with; ``None`` as long as no key was ever made.
        used: When keys were last used, in seconds of the Unix clock, until that is written down.
        checked: Keys whose hash was right when they were last shown, by all that was shown.
        usable_until: When nothing can be judged any more without another look.

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
        self.keys: dict[str, KnownKey] = {}
        self.used: dict[str, float] = {}
        self.checked: dict[bytes, KnownKey] = {}
        secret = config.pepper
        self.pepper = None if secret is None else secret.get_secret_value()
        self.usable_until = float("-inf")
        self._fresh_until = float("-inf")
        self._config = config
        self._store = store
        self._redis = redis
        self._clock = clock
        self._now = now
        self._version = 0
        self._omitted = 0
        self._revoked: dict[str, None] = {}
        self._seen_in_redis: int | None = None
        self._next_look = self._next_touch = self._next_confirm = float("-inf")
        self._failure: str | None = None
        self._task: asyncio.Task[None] | None = None
        source = "" if store is None else database_of(store)
        self._file = SnapshotFile(Path(config.snapshot_file), source)
        self._known = metrics.gauge("gatewayd_api_keys", "API keys in memory.").labels()
        self._not_loaded = metrics.gauge(
            "gatewayd_api_keys_omitted", "API keys for which `max_keys` leaves no room."
        ).labels()
        failures = metrics.counter(
            "gatewayd_api_key_failures", "Failed accesses to API keys, by what failed.", ("step",)
        )
        self._failures = {step: failures.labels(step) for step in ("read", "touch", "snapshot")}

    # --- judging -----------------------------------------------------------------------------

    def check(self) -> None:
        """Tell whether keys can be judged at all.

        Raises:
            AuthUnavailable: they cannot.

        """
        if self._clock() > self.usable_until:
            raise AuthUnavailable("store", self._failure or "API keys were not read yet")
        if self.pepper is None and self.keys:
            raise AuthUnavailable("store", f"there are API keys, but no {self._config.pepper_file}")

    def reason_unknown(self, key_id: str) -> str:
        """Return why there is no such key.

        Raises:
            AuthUnavailable: there may be one.

        """
        if key_id in self._revoked:
            return "revoked"
        if self._clock() > self._fresh_until:
            raise AuthUnavailable("store", self._failure or "API keys were not read for a while")
        if self._omitted:
            raise AuthUnavailable("store", "there are more API keys than `max_keys`")
        return "unknown_key"

    def remember(self, shown: bytes, known: KnownKey) -> None:
        """Remember that a key was shown and good; what has changed since is found out by lookup."""
        if len(self.checked) >= _REMEMBERED_CHECKED and shown not in self.checked:
            del self.checked[next(iter(self.checked))]
        self.checked[shown] = known

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
        if self._version == 0 and self._failure and self._config.on_outage == "stale":
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
        if self._failure is not None:
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
            changed = await self._read()
        except Exception as error:  # of the database, its driver, or the pepper's file
            self._failures["read"].value += 1
            self._seen_in_redis = None
            if self._failure is None:
                logger.warning("API keys cannot be read: %r", error)
            self._failure = f"{type(error).__name__}: {error}"
            return
        if self._failure is not None:
            logger.info("API keys can be read again")
            self._failure = None
        self._next_look = now + self._config.poll_interval * 0.75  # below every pause
        self._known_at(now)
        if self._config.on_outage == "stale":
            await self._write_file(changed=changed)

    def _known_at(self, moment: float) -> None:
        stale = self._config.on_outage == "stale"
        self._fresh_until = moment + FRESH
        self.usable_until = moment + (max(self._config.max_stale, FRESH) if stale else FRESH)

    async def _read(self) -> bool:
        """Read what has changed since the last time; return whether anything has."""
        if self._store is None:
            raise GatewayError("there is no store")
        table = self._store.api_keys
        async with asyncio.timeout(QUERY_TIMEOUT):
            latest = await table.latest_version()
        changed = latest != self._version
        # Older than what is known: the database was restored or made anew. And where keys were left
        # out, what has changed may have made room for them.
        anew = latest < self._version or (changed and self._omitted > 0)
        version, keys = (0, {}) if anew else (self._version, self.keys)
        if anew:
            logger.info("all API keys are read again")
            self._omitted = 0
        while version < latest:
            async with asyncio.timeout(QUERY_TIMEOUT):
                records = await table.changed_since(version, limit=BATCH)
            if not records:
                break
            self._apply(keys, records)
            version = records[-1].version
            if not anew:
                self._version = version
        self.keys, self._version = keys, version
        self._count()
        await self._read_pepper()
        return changed

    def _apply(self, keys: dict[str, KnownKey], records: Sequence[ApiKeyRecord]) -> None:
        for record in records:
            if record.revoked_at is not None:
                keys.pop(record.id, None)
                self._revoked[record.id] = None
                if len(self._revoked) > _REMEMBERED_REVOKED:
                    del self._revoked[next(iter(self._revoked))]
            elif record.id in keys or len(keys) < self._config.max_keys:
                keys[record.id] = KnownKey(record)
            else:
                self._omitted += 1

    def _count(self) -> None:
        if self._omitted > self._not_loaded.value:
            limit = self._config.max_keys
            logger.error("%d API keys are above max_keys = %d", self._omitted, limit)
        self._not_loaded.value = self._omitted
        self._known.value = len(self.keys)

    async def _read_pepper(self) -> None:
        """Read the pepper's file as soon as there is one: it is made with the first key."""
        if self.pepper is None:
            self.pepper = await asyncio.to_thread(read_pepper, Path(self._config.pepper_file))

    # --- the file, and uses ------------------------------------------------------------------

    async def _load_file(self) -> None:
        try:
            await self._read_pepper()
            if self.pepper is None:
                return
            load = self._file.load
            snapshot = await asyncio.to_thread(load, self.pepper, self._config.max_keys)
        except FileNotFoundError:
            logger.warning("there is no %s either: no API key can be judged", self._file.path)
            return
        except (OSError, ValueError, GatewayError) as error:
            self._failures["snapshot"].value += 1
            logger.warning("the snapshot of API keys cannot be used: %s", error)
            return
        age = max(self._now() - snapshot.saved_at, 0.0)
        self._apply(self.keys, snapshot.records)
        self._version = snapshot.version
        self._count()
        self.usable_until = self._clock() - age + self._config.max_stale
        logger.warning("%d API keys as they were %.0f s ago are used", len(self.keys), age)

    async def _write_file(self, *, changed: bool) -> None:
        now = self._clock()
        if self.pepper is None or (not changed and now < self._next_confirm):
            return
        records = [known.record for known in self.keys.values()]
        try:
            if changed or not self._file.path.exists():
                save = self._file.save
                await asyncio.to_thread(save, self.pepper, self._version, records)
            else:
                await asyncio.to_thread(self._file.confirm)
        except OSError as error:
            self._failures["snapshot"].value += 1
            logger.warning("the snapshot of API keys cannot be written: %s", error)
        self._next_confirm = now + CONFIRM_INTERVAL

    async def _write_used(self) -> None:
        """Write down when keys were last used; where that fails, it is tried again later."""
        if not self.used or self._store is None:
            return
        used, self.used = self.used, {}
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                moments = {key_id: int(moment * 1e6) for key_id, moment in used.items()}
                await self._store.api_keys.touch(moments)
        except Exception as error:
            self._failures["touch"].value += 1
            self.used = {**used, **self.used}  # no more than there are keys
            logger.debug("uses of API keys cannot be written: %r", error)
