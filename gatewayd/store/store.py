"""The store as filters see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd.store.api_keys import ApiKeys
    from gatewayd.store.settings import StoreConfig


class Store:
    """The SQL database, opened.

    Attributes:
        config: Its settings.
        api_keys: The API keys.

    """

    api_keys: ApiKeys

    def __init__(self, config: StoreConfig) -> None:
        self.config = config

    async def start(self) -> None:
        """Open it; safe to call again. An unreachable database is no error here."""

    async def check(self) -> None:
        """Raise where the database cannot be used now."""

    async def close(self) -> None:
        """Close all connections."""
