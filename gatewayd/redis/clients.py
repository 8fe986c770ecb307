"""Clients of coredis, with every default that would hurt a gateway replaced.

Its own retries send a script again after a time-out, and what that script has taken is taken twice;
without time-outs a server that hangs queues callers without bound; and ``rediss://`` alone does not
check the host's name.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from gatewayd.tls import tls_client_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import coredis

    from gatewayd.redis.settings import RedisConfig

Client: TypeAlias = "coredis.Redis[bytes] | coredis.RedisCluster[bytes]"

# It logs each failed attempt as an error; the link tells of the beginning and the end of an outage.
logging.getLogger("coredis").setLevel(logging.CRITICAL)


@asynccontextmanager
async def open_client(config: RedisConfig) -> AsyncIterator[Client]:
    """Connect a client; entered and left in one task, as coredis asks for.

    Raises:
        OSError: a file of ``tls`` cannot be read.

    """
    import coredis
    from coredis.retry import NoRetryPolicy

    parts = urlsplit(config.url)
    address = (parts.hostname or "", parts.port or 6379)
    common: dict[str, Any] = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "stream_timeout": config.timeout,
        "connect_timeout": config.timeout,
        "pool_timeout": config.timeout,
        "max_connections": config.max_connections,
        "verify_version": False,
        "retry_policy": NoRetryPolicy(),
    }
    if config.encrypted:
        tls = config.tls
        common["ssl_context"] = tls_client_context(
            tls.ca, verify=tls.verify, certificate=tls.certificate, key=tls.key
        )
    database = int(parts.path[1:] or 0)
    if config.cluster:
        nodes = [address, *map(_address, config.nodes)]
        cluster: coredis.RedisCluster[bytes] = coredis.RedisCluster(
            startup_nodes=[coredis.connection.TCPLocation(*node) for node in nodes],
            max_connections_per_node=True,
            **common,
        )
        async with cluster as client:
            yield client
    elif config.sentinel is not None:
        from coredis.sentinel import Sentinel

        # It hands these on to connections, and gives clients its own policy about retries.
        times = {name: common[name] for name in ("stream_timeout", "connect_timeout")}
        names = ("username", "password", "max_connections", "ssl_context")
        given = times | {name: common[name] for name in names if name in common}
        sentinels = Sentinel(
            [_address(node) for node in config.nodes],
            sentinel_kwargs=times,
            retry_policy=NoRetryPolicy(),
        )
        async with sentinels, sentinels.primary_for(config.sentinel, db=database, **given) as one:
            yield one
    else:
        alone = coredis.Redis(*address, db=database, max_idle_time=60, **common)
        async with alone as client:
            yield client


def _address(node: str) -> tuple[str, int]:
    host, _, port = node.rpartition(":")
    return host.strip("[]"), int(port)
