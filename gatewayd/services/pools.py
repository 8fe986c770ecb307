"""The connection pools of one service, which outlive whatever does not concern them.

A pool is shared with other generations of the configuration by its key: service, URL and the
settings of the connections. A reload that adds an instance, or changes a weight, leaves the pools
of the others with all their connections.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gatewayd.upstream.head import HeadCache
from gatewayd.upstream.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gatewayd.config.schema import ServiceConfig
    from gatewayd.gateway import KeptState
    from gatewayd.services.tls import ClientTls
    from gatewayd.timers import Sweeper
    from gatewayd.upstream.names import Names


class Pools:
    """The connection pools of one service.

    Args:
        service: Name of the service.
        config: Its settings.
        identity: Changes when the settings of the connections do, or the files that they name.
        tls: For instances whose URL says ``https``.
        kept: Where pools are shared with other generations.
        sweeper: Watches the deadlines of the connections.
        names: Finds the addresses of instances that have names.

    """

    def __init__(
        self,
        service: str,
        config: ServiceConfig,
        identity: str,
        tls: ClientTls,
        kept: KeptState,
        sweeper: Sweeper,
        names: Names,
    ) -> None:
        self._service = service
        self._config = config
        self._identity = identity
        self._tls = tls
        self._kept = kept
        self._sweeper = sweeper
        self._names = names
        # One for all: instances of a service say the same, and there may be a thousand.
        self._heads = HeadCache(config.max_response_headers)

    def acquire(self, url: str) -> Pool:
        """Return the pool of an instance, and count one user."""
        return self._kept.acquire(self._key(url), partial(self._make, url))

    def release(self, url: str) -> None:
        """Count one user less; the last one closes the pool."""
        pool = self._kept.release(self._key(url))
        if pool is not None:
            pool.close()

    def _key(self, url: str) -> Hashable:
        return ("pool", self._service, url, self._identity)

    def _make(self, url: str) -> Pool:
        tls = self._tls.context if url.startswith("https:") else None
        return Pool(self._service, url, self._config, tls, self._sweeper, self._names, self._heads)
