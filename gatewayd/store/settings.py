"""Settings of the store."""

from __future__ import annotations

from gatewayd.config.model import Model


class StoreConfig(Model):
    """The SQL database: API keys, routes, audit and more."""

    url: str = "sqlite:///var/gatewayd.db"
    """`sqlite:///FILE`, or `mysql://USER:PASSWORD@HOST:PORT/DATABASE`; a relative file lies in the
    working directory."""
