"""The store as filters see it: what can be asked of it, whatever database it is."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayd.store.errors import StoreError
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gatewayd.store.api_keys import ApiKeys
    from gatewayd.store.audit_logs import AuditLogs
    from gatewayd.store.breaker_states import BreakerStates
    from gatewayd.store.database import Database
    from gatewayd.store.rate_limit_records import RateLimitRecords
    from gatewayd.store.revoked_tokens import RevokedTokens
    from gatewayd.store.routes import Routes
    from gatewayd.store.settings import StoreConfig

logger = logging.getLogger("gatewayd.store")


class Store:
    """The SQL database.

    No request waits for it: what requests need is read into memory in the background, and what they
    leave behind is written in batches.

    Args:
        config: Its settings.
        metrics: Where operations are counted.

    Attributes:
        config: The same.
        embedded: Whether it is SQLite, which no other node can see.

    """

    def __init__(self, config: StoreConfig, metrics: Metrics | None = None) -> None:
        self.config = config
        self.embedded = config.embedded
        self._metrics = metrics or Metrics()
        self._started = False

    # Made when they are asked for: SQLAlchemy takes 25 MB, which a gateway that stores nothing need
    # not have.

    @cached_property
    def _database(self) -> Database:
        from gatewayd.store.database import Database

        return Database(self.config, self._metrics)

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
        """Make the tables of an embedded store; an outage is no error here. Safe to call again."""
        if self._started:
            return
        self._started = True
        if self.embedded:
            from gatewayd.store.setup import initialize

            try:
                await initialize(self.config)
            except StoreError as error:
                logger.error("the store cannot be used: %s", error)  # noqa: TRY400  # it says it all

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
