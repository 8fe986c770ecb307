"""Revoked tokens: their ids, read from the store in the background.

A request never waits for SQL. While the store is away the list that is there goes on: it only grows
old, and what it holds stays revoked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd import GatewayError
from gatewayd_filters.auth.jwt.revoked_file import RevokedFile
from gatewayd_filters.auth.private_file import database_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd import Store
    from gatewayd_filters.auth.jwt.config import JwtConfig

INTERVAL = 5.0
"""Seconds between two looks at the list."""
CLOSED_AFTER = 3 * INTERVAL
"""Seconds for which a list that cannot be renewed is relied on where `on_outage` is `closed`: two
looks have failed by then."""

logger = logging.getLogger("gatewayd.filters.auth.jwt")


class RevokedTokens:
    """The ids of revoked tokens that still count, with the leeway that others have.

    Args:
        config: The method's settings.
        store: Where the list is.
        clock: Monotonic seconds.
        changed: Is called when ids have come.

    """

    def __init__(
        self,
        config: JwtConfig,
        store: Store,
        clock: Callable[[], float],
        changed: Callable[[frozenset[str]], None],
    ) -> None:
        self._leeway = config.leeway
        self._usable_for = config.max_stale if config.on_outage == "stale" else CLOSED_AFTER
        self._store = store
        self._clock = clock
        self._changed = changed
        self._ids: frozenset[str] = frozenset()
        self._read_at: float | None = None
        self._failing = False
        self._file: RevokedFile | None = None
        if config.on_outage == "stale":
            self._file = RevokedFile(Path(config.revocation_file), database_of(store))
        self._saved: frozenset[str] | None = None
        self._unsaved = False
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    async def start(self) -> None:
        """Read the list, then read it again and again; safe to call again."""
        await self._store.start()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="gatewayd revoked tokens")
        await self._tried.wait()

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def remaining(self) -> float:
        """Seconds for which the list may be relied on; none where it is not there, or too old."""
        if self._read_at is None:
            return 0.0
        return max(self._read_at + self._usable_for - self._clock(), 0.0)

    def __contains__(self, jti: str) -> bool:
        return jti in self._ids

    async def _run(self) -> None:
        try:
            await self.read()
            if self._read_at is None:
                await self._load()
        finally:
            self._tried.set()
        while True:
            await asyncio.sleep(INTERVAL)
            await self.read()

    async def read(self) -> None:
        """Read the list once; a failure is logged when it begins and when it ends."""
        try:
            # With leeway a token counts beyond its `exp`, and must stay revoked for as long.
            now = int((time.time() - self._leeway) * 1e6)
            ids = frozenset(await self._store.revoked_tokens.active(now))
        except Exception as error:
            if not self._failing:
                logger.warning("the list of revoked tokens cannot be read: %r", error)
            self._failing = True
            return
        if self._failing:
            logger.info("the list of revoked tokens is read again")
        self._failing = False
        self._read_at = self._clock()
        fresh, self._ids = ids - self._ids, ids
        if fresh:
            self._changed(fresh)
        await self._save()

    async def _load(self) -> None:
        """Take over what was known before this process started."""
        if self._file is None:
            return
        try:
            ids, known_at = await asyncio.to_thread(self._file.load)
        except (OSError, GatewayError) as error:
            logger.warning("the file of revoked tokens cannot be used: %s", error)
            return
        age = max(time.time() - known_at, 0.0)
        self._ids, self._read_at = ids, self._clock() - age
        logger.warning("revoked tokens are those of a file that is %.0f s old", age)

    async def _save(self) -> None:
        file, ids = self._file, self._ids
        if file is None:
            return
        try:
            if ids == self._saved:
                await asyncio.to_thread(file.confirm)
            else:
                await asyncio.to_thread(file.save, ids)
                self._saved = ids
        except (OSError, GatewayError) as error:
            if not self._unsaved:
                logger.warning("the file of revoked tokens cannot be written: %s", error)
            self._saved, self._unsaved = None, True
        else:
            self._unsaved = False
