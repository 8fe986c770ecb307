"""The store as filters see it: what can be asked of it, whatever database it is."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayd.store.errors import StoreError
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gatewayd.store.api_keys import ApiKeys
    from gatewayd.store.audit_logs import AuditLogs
    from gatewayd.store.breaker_states import BreakerStates
    from gatewayd.store.database import Database
    from gatewayd.store.rate_limit_records import RateLimitRecords
    from gatewayd.store.revoked_tokens import RevokedTokens
    from gatewayd.store.routes import Routes
    from gatewayd.store.settings import StoreConfig

_RETRY_SECONDS = 5.0

logger = logging.getLogger("gatewayd.store")


class Store:
    """The SQL database.

    No request waits for it: what requests need is read into memory in the background, and what they
    leave behind is written in batches.

    Args:
        config: Its settings.
        metrics: Where operations are counted.
        clock: Monotonic seconds.

    Attributes:
        config: The same.
        embedded: Whether it is SQLite, which no other node can see.

    """

    def __init__(
        self,
        config: StoreConfig,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.embedded = config.embedded
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._started = False
        self._made = not config.embedded
        self._making = asyncio.Lock()
        self._try_again_at = float("-inf")
        self._failing = False

    # Made when they are asked for: SQLAlchemy takes 25 MB, which a gateway that stores nothing need
    # not have.

    @cached_property
    def _database(self) -> Database:
        from gatewayd.store.database import Database

        return Database(self.config, self._metrics, self._clock, prepare=self._make)

    @cached_property
    def api_keys(self) -> ApiKeys:
        """API keys, by their public ids."""
        from gatewayd.store.api_keys import ApiKeys

        return ApiKeys(self._database)

    @cached_property
    def revoked_tokens(self) -> RevokedTokens:
        """Tokens that were revoked before they expire."""
        from gatewayd.store.revoked_tokens import RevokedTokens

        return RevokedTokens(self._database)

    @cached_property
    def routes(self) -> Routes:
        """Routes and services."""
        from gatewayd.store.routes import Routes

        return Routes(self._database)

    @cached_property
    def rate_limit_records(self) -> RateLimitRecords:
        """Refusals by rate limits, by minute, route and caller."""
        from gatewayd.store.rate_limit_records import RateLimitRecords

        return RateLimitRecords(self._database)

    @cached_property
    def breaker_states(self) -> BreakerStates:
        """Transitions of circuit breakers."""
        from gatewayd.store.breaker_states import BreakerStates

        return BreakerStates(self._database)

    @cached_property
    def audit_logs(self) -> AuditLogs:
        """The audit trail."""
        from gatewayd.store.audit_logs import AuditLogs

        return AuditLogs(self._database)

    async def start(self) -> None:
        """Make the tables of an embedded store; an outage is no error here. Safe to call again.

        Where they cannot be made yet, as the disk is full, operations try again after a pause.
        """
        self._started = True
        await self._make()

    async def _make(self) -> None:
        """Make the tables of an embedded store that was started, unless they are made."""
        if self._is_due():
            async with self._making:
                if self._is_due():  # or somebody has done so meanwhile
                    await self._try_to_make()

    def _is_due(self) -> bool:
        return self._started and not self._made and self._clock() >= self._try_again_at

    async def _try_to_make(self) -> None:
        from gatewayd.store.setup import initialize

        try:
            await initialize(self.config)
        except StoreError as error:
            self._note_failure(error)
        else:
            self._made = True
            self._note_success()
        finally:
            self._try_again_at = self._clock() + _RETRY_SECONDS

    def _note_failure(self, error: StoreError) -> None:
        if not self._failing:
            self._failing = True
            logger.error("the store cannot be used: %s", error)

    def _note_success(self) -> None:
        if self._failing:
            self._failing = False
            logger.info("the store can be used")

    async def check(self) -> None:
        """Ask whether it can be used.

        Raises:
            StoreError: it cannot.

        """
        await self._database.check()

    async def close(self) -> None:
        """Close all connections."""
        if "_database" in vars(self):
            await self._database.close()

    def __repr__(self) -> str:
        return f"<store {urlsplit(self.config.url).hostname or self.config.url}>"  # no password


@asynccontextmanager
async def opened_store(config: StoreConfig) -> AsyncIterator[Store]:
    """Open a store for a while, as commands do."""
    store = Store(config)
    try:
        await store.start()
        yield store
    finally:
        await store.close()
