"""Revoked tokens: their ids, read from the store in the background.

A request never waits for SQL. While the store is away the list that is there goes on: it only grows
old, and what it holds stays revoked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd import Store

INTERVAL = 5.0
"""Seconds between two looks at the list."""
MAX_STALE = 3600.0
"""Seconds for which a list that cannot be renewed is relied on; then tokens cannot be judged."""

logger = logging.getLogger("gatewayd.filters.auth.jwt")


class RevokedTokens:
    """The ids of revoked tokens that have not expired.

    Args:
        store: Where the list is.
        clock: Monotonic seconds.
        changed: Is called when ids have come.

    """

    def __init__(
        self, store: Store, clock: Callable[[], float], changed: Callable[[frozenset[str]], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed
        self._ids: frozenset[str] = frozenset()
        self._read_at: float | None = None
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the list, then read it again and again; safe to call again."""
        if self._task is None:
            await self._store.start()
            await self.read()
            self._task = asyncio.create_task(self._run(), name="gatewayd revoked tokens")

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def known(self) -> bool:
        """Whether the list is there and not too old."""
        return self._read_at is not None and self._clock() <= self._read_at + MAX_STALE

    def __contains__(self, jti: str) -> bool:
        return jti in self._ids

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self.read()

    async def read(self) -> None:
        """Read the list once; a failure is logged when it begins and when it ends."""
        try:
            ids = frozenset(await self._store.revoked_tokens.active(int(time.time() * 1e6)))
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
