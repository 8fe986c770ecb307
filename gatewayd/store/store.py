"""The store as filters see it: what can be asked of it, whatever database it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gatewayd.store.errors import StoreError
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
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
        embedded: Whether it is SQLite, which no other node can see.
        api_keys, revoked_tokens, routes: Tables that are read.
        rate_limit_records, breaker_states, audit_logs: Tables that are written.

    """

    def __init__(self, config: StoreConfig, metrics: Metrics | None = None) -> None:
        # Imported here: SQLAlchemy takes 25 MB, which a gateway without a store need not pay.
        from gatewayd.store.api_keys import ApiKeys
        from gatewayd.store.audit_logs import AuditLogs
        from gatewayd.store.breaker_states import BreakerStates
        from gatewayd.store.database import Database
        from gatewayd.store.rate_limit_records import RateLimitRecords
        from gatewayd.store.revoked_tokens import RevokedTokens
        from gatewayd.store.routes import Routes

        self.config = config
        self.embedded = config.embedded
        self._database = database = Database(config, metrics or Metrics())
        self._started = False
        self.api_keys = ApiKeys(database)
        self.revoked_tokens = RevokedTokens(database)
        self.routes = Routes(database)
        self.rate_limit_records = RateLimitRecords(database)
        self.breaker_states = BreakerStates(database)
        self.audit_logs = AuditLogs(database)

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
        await self._database.close()

    def __repr__(self) -> str:
        return f"<store {self._database.nodes.writers[0].name}>"
