"""Limit how many exchanges of one caller are under way at once.

An exchange is under way until its last byte is sent, or its tunnel is closed, or it was broken off.
The workers of a node count together; nodes do not, as a number that rises and falls with each
request is out of date before another node has read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gatewayd import Filter, FilterConfig, LockStuck, Reject
from gatewayd_filters.concurrency_limit.counts import LocalCounts, SharedCounts
from gatewayd_filters.token_bucket.keys import Keys, Part, Scope, scope_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gatewayd import Exchange, Forward, Gateway, Response

_REMEMBERED = 4096


class ConcurrencyLimitConfig(FilterConfig):
    """Settings of `concurrency_limit`."""

    limit: int | None = Field(None, ge=1, le=65_535)
    """Exchanges of one caller that may be under way at once, on all workers of a node; no limit
    where absent."""
    key: Part | Annotated[tuple[Part, ...], Field(min_length=1, max_length=8)] = "principal"
    """Who is a caller, as `key` of `token_bucket`."""
    ipv6_prefix: int = Field(64, ge=16, le=128)
    """Bits of an IPv6 address that tell clients apart, as in `token_bucket`."""
    scope: Scope = "auto"
    """What is counted together: as `scope` of `token_bucket`."""
    name: str = Field("", pattern=r"^[0-9A-Za-z._-]{0,64}$")
    """Name under which exchanges are counted; routes with the same name count together."""
    status: Literal[429, 503] = 429
    """Status of the answer. 429 blames the caller; 503 suits a limit that protects a service,
    with `key = "service"`, as APISIX' `limit-conn`."""
    shadow: bool = False
    """Decide and count, but refuse nobody."""


class ConcurrencyLimit(Filter[ConcurrencyLimitConfig]):
    """Refuse what would be too many exchanges of one caller at once."""

    name = "concurrency_limit"
    Config = ConcurrencyLimitConfig

    def __init__(self, config: ConcurrencyLimitConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        parts = (config.key,) if isinstance(config.key, str) else config.key
        self._keys = Keys(parts, config.ipv6_prefix)
        self._known: dict[Hashable, str] = {}
        self._local = gateway.keep(("concurrency_limit", "local"), LocalCounts)
        self._counts: LocalCounts | SharedCounts = self._local
        self._workers = 1
        if (shared := gateway.shared) is not None:
            self._workers = shared.workers
            self._counts = gateway.keep(
                ("concurrency_limit", "shared"), lambda: SharedCounts(shared)
            )
        self._refused = gateway.metrics.counter(
            "gatewayd_concurrency_limit_refused",
            "Exchanges above a limit; in shadow mode they passed all the same.",
            ("limit", "mode"),
            max_cells=1024,
        )

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 429 or 503 ``concurrency_limited``.

        """
        limit = self.config.limit
        if limit is None:
            return await forward(exchange)
        identity = self._keys.identity(exchange)
        key = self._known.get(identity) or self._find(exchange, identity)
        counts = self._counts
        try:
            entered = counts.enter(key, limit)
        except LockStuck:  # then each worker has its part
            counts = self._local
            entered = counts.enter(key, max(1, limit // self._workers))
        if entered:
            exchange.on_finish(lambda _, __: counts.leave(key))
        else:
            self._refuse(key)
        return await forward(exchange)

    def _find(self, exchange: Exchange, identity: Hashable) -> str:
        """Work out the key of an exchange, and remember it."""
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        config = self.config
        name = config.name or scope_of(exchange, config.scope, self.name, ("limit",))
        key = self._known[identity] = f"{name}|{self._keys.text(exchange)}"
        return key

    def _refuse(self, key: str) -> None:
        """Count a refusal and, unless in shadow mode, refuse.

        Raises:
            Reject: 429 or 503 ``concurrency_limited``.

        """
        mode = "shadow" if self.config.shadow else "enforced"
        self._refused.labels(key.partition("|")[0], mode).value += 1
        if not self.config.shadow:
            raise Reject(
                self.config.status,
                "concurrency_limited",
                "Too many requests are under way; try again when one has ended.",
                [("Retry-After", "1")],
            )
