"""Token bucket: how often a caller may ask.

The buckets are behind one question, asked of one of several backends (see
:mod:`gatewayd_filters.token_bucket.backend`). What is taken is taken: a client that leaves gets
nothing back, and an attempt that ``retry`` repeats, which stands behind this filter, costs nothing
more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from gatewayd import Filter, Reject
from gatewayd_filters.token_bucket.admin import BucketOperations
from gatewayd_filters.token_bucket.backend import BackendUnavailable, Verdict
from gatewayd_filters.token_bucket.backends import make_backend, make_local
from gatewayd_filters.token_bucket.config import TokenBucketConfig, from_route
from gatewayd_filters.token_bucket.costs import Costs
from gatewayd_filters.token_bucket.plans import Plan, Plans
from gatewayd_filters.token_bucket.policy import LEGACY, STANDARD, whole_seconds
from gatewayd_filters.token_bucket.rejections import Rejections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Exchange, Forward, Gateway, Headers, Response, Store
    from gatewayd_filters.token_bucket.backend import Charge
    from gatewayd_filters.token_bucket.rejections import Row

__all__ = ["TokenBucket", "TokenBucketConfig"]

_FIELDS = frozenset(STANDARD + LEGACY)
_FIELD_NAMES = [name.decode() for name in sorted(_FIELDS)]
_PASSED = Verdict(True, (), 0.0, 0)


_KEPT_MINUTES = 90 * 24 * 60
"""For how long records of refusals are kept in the store: 90 days, as the audit trail."""

_PURGE_SECONDS = 2.0
"""Within the time that records have to be written."""

logger = logging.getLogger("gatewayd.filters.token_bucket")


class TokenBucket(Filter[TokenBucketConfig]):
    """Refuse what comes too often."""

    name = "token_bucket"
    Config = TokenBucketConfig
    route_keys = {"rate_limit": from_route}  # noqa: RUF012  # as in the base class

    def __init__(self, config: TokenBucketConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._plans = Plans(config, gateway)
        self._backend = make_backend(config, gateway)
        self._local, self._local_shares = make_local(config, gateway)
        self._tells = config.headers.standard or config.headers.legacy
        self._unavailable = gateway.metrics.counter(
            "gatewayd_rate_limit_outages",
            "Requests for which the backend was away, by what became of them.",
            ("on_outage",),
        ).labels(config.on_outage)
        self._costs = None
        if config.cost_header is not None:
            self._costs = Costs(config, gateway, self._backend)
        operations = BucketOperations(self._plans, self._backend, self._costs)
        gateway.admin.register("buckets.peek", operations.peek)
        gateway.admin.register("buckets.reset", operations.reset)
        self._rejections: Rejections | None = None
        if config.records and (store := gateway.store) is not None:
            self._rejections = gateway.keep(
                ("token_bucket", "records", store),
                lambda: Rejections(partial(_write, store), gateway.metrics),
            )

    async def start(self) -> None:
        """See :meth:`gatewayd.Filter.start`."""
        await self._backend.start()
        if self.config.backend == "redis" and (redis := self.gateway.redis) is not None:
            # What becomes of requests is for `on_outage` to say, and all nodes have the same Redis.
            self.gateway.readiness.add("redis", redis.check, gates=False)
        if self._rejections is not None:
            await self._rejections.start()

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 429 ``rate_limited``, or 503 ``rate_limit_unavailable``.

        """
        plans = self._plans
        identity = plans.identity(exchange)
        plan = plans.known.get(identity) or plans.find(exchange, identity)
        if not plan.charges:
            return await forward(exchange)
        costs = self._costs
        charges: Sequence[Charge] = plan.charges
        try:
            if costs is not None and costs.owes(plan):
                verdict, charges = await costs.take(plan)
            else:
                asked = self._backend.take(charges)
                verdict = asked if isinstance(asked, Verdict) else await asked
        except BackendUnavailable:
            verdict, charges = self._do_without(plan), plan.charges
        if not verdict.allowed:
            self._refuse(plan, verdict)
        elif verdict.remaining:
            plan.count(charges)
        response = await forward(exchange)
        if self._tells and verdict.remaining:
            _tell(response, plan.policy.fields(verdict))
        if costs is not None:
            await costs.settle(plan, response)
        return response

    def _do_without(self, plan: Plan) -> Verdict:
        """Decide without the backend, as ``on_outage`` says.

        Raises:
            Reject: 503 ``rate_limit_unavailable``.

        """
        self._unavailable.value += 1
        if self.config.on_outage == "open" or self.config.shadow:
            return _PASSED
        if self.config.on_outage == "local":
            with suppress(BackendUnavailable):  # both at once; then it is as if closed
                return self._local.take(plan.share(self._local_shares))
        raise Reject(
            503,
            "rate_limit_unavailable",
            "Rate limits cannot be checked at the moment.",
            [("Retry-After", "1")],
        )

    def _refuse(self, plan: Plan, verdict: Verdict) -> None:
        """Count a refusal and, unless in shadow mode, refuse.

        Raises:
            Reject: 429 ``rate_limited``.

        """
        plan.refused.value += 1
        if self._rejections is not None and not self.config.shadow:
            self._rejections.add(plan.route, plan.caller)
        if self.config.shadow:
            return
        fields = list(plan.policy.fields(verdict)) if self._tells else []
        if verdict.retry_after < math.inf:
            fields.append(("Retry-After", str(max(1, whole_seconds(verdict.retry_after)))))
        raise Reject(429, "rate_limited", "There were too many requests; try again later.", fields)


async def _write(store: Store, rows: Sequence[Row]) -> None:
    """Write to the store, which is not opened before there is something to write."""
    await store.start()
    await store.rate_limit_records.add(rows)
    minute = rows[0][0]
    if minute % 60 == 0:  # now and then; whoever does so first leaves the others nothing
        await _purge(store, minute - _KEPT_MINUTES)


async def _purge(store: Store, before: int) -> None:
    """Delete what is too old, as far as there is time; what was to be written is written."""
    try:
        async with asyncio.timeout(_PURGE_SECONDS):
            await store.rate_limit_records.purge(before)
    except Exception as error:
        logger.warning("old records of refusals stay, to be deleted later: %r", error)


def _tell(response: Response, fields: Headers) -> None:
    """Add the fields of the gateway's limit, in the place of those of the upstream's own."""
    headers = response.headers
    if not _FIELDS.isdisjoint(headers.index):
        headers.remove(*_FIELD_NAMES)
    headers.extend_with(fields)
