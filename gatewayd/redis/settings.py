"""Settings of the connection to Redis."""

from __future__ import annotations

from gatewayd.config.model import Model
from gatewayd.config.types import Seconds  # for pydantic


class RedisConfig(Model):
    """Redis, which nodes share for limits and for telling each other of changes."""

    url: str = "redis://127.0.0.1:6379/0"
    """`redis://HOST:PORT/DATABASE`, or `rediss://` for TLS."""
    timeout: Seconds = 0.2
    """Longest time for one call, its connection included."""
