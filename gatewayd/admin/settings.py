"""Settings of the admin API."""

from __future__ import annotations

from gatewayd.config.model import Model


class AdminConfig(Model):
    """The admin API, on a listener of its own."""

    listen: str = "127.0.0.1:8002"
    """`HOST:PORT`, or `unix:FILE`."""
