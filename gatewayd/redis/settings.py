"""Settings of the connection to Redis."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gatewayd.config.model import Model
from gatewayd.config.types import Seconds  # for pydantic


def _redis_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.query:
        raise ValueError("expected redis://HOST:PORT/DATABASE, or rediss://... for TLS")
    if parts.port == 0:  # raises ValueError where it is not a number up to 65535
        raise ValueError("nothing listens on port 0")
    if parts.path not in ("", "/") and not parts.path[1:].isdecimal():
        raise ValueError("expected the number of a database behind the /")
    return value


RedisUrl = Annotated[str, AfterValidator(_redis_url)]


def _node_address(value: str) -> str:
    if not 0 < int(value.rpartition(":")[2]) <= 65535:
        raise ValueError("expected a port from 1 to 65535")
    return value


NodeAddress = Annotated[
    str,
    Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"),
    AfterValidator(_node_address),
]


class RedisTlsConfig(Model):
    """TLS towards Redis; for `rediss://`."""

    ca: str | None = None
    """PEM file of the authorities; the system's where absent."""
    verify: bool = True
    """Whether certificate and host name are verified."""
    certificate: str | None = None
    """PEM file of the client certificate."""
    key: str | None = None
    """PEM file of its private key."""


class RedisConfig(Model):
    """Redis, which nodes share for limits and for telling each other of changes."""

    url: RedisUrl = Field("redis://127.0.0.1:6379/0", repr=False)
    """`redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS. Of a cluster, one of its
    nodes; with `sentinel`, user, password and database of the server that Sentinel names."""
    cluster: bool = False
    """Whether it is a Redis Cluster."""
    nodes: tuple[NodeAddress, ...] = ()
    """Further nodes of the cluster to ask for its map, or the Sentinels; `HOST:PORT`."""
    sentinel: str | None = None
    """Name under which Sentinel knows the server."""
    timeout: Seconds = 0.2
    """Longest time for one call, its connection included: what a request may lose by a Redis that
    hangs, until it is left alone."""
    failures: int = Field(3, ge=1, le=1000)
    """Calls in a row that fail until Redis counts as away; from then on no request asks it."""
    probe_interval: Seconds = 0.5
    """How often it is tried in the background while it is away."""
    max_connections: int = Field(8, ge=1, le=1000)
    """Connections, per worker and, in a cluster, per node. Calls share them."""
    prefix: str = Field("gatewayd:", pattern=r"^[A-Za-z0-9:_.-]{0,64}$")
    """What all keys begin with; for an ACL, or where several gateways share a Redis."""
    tls: RedisTlsConfig = RedisTlsConfig()
    """TLS, for `rediss://`."""

    @model_validator(mode="after")
    def _one_kind(self) -> RedisConfig:
        if self.cluster and self.sentinel is not None:
            raise ValueError("a cluster needs no Sentinel")
        if self.sentinel is not None and not self.nodes:
            raise ValueError("nodes has to name the Sentinels")
        if self.nodes and not self.cluster and self.sentinel is None:
            raise ValueError("nodes are for a cluster or for Sentinels")
        return self

    @property
    def encrypted(self) -> bool:
        """Whether connections have TLS."""
        return urlsplit(self.url).scheme == "rediss"
