"""Token bucket: how often a caller may ask.

The buckets are behind one question, asked of one of several backends (see
:mod:`gatewayd_filters.token_bucket.backend`). What is taken is taken: a client that leaves gets
nothing back, and an attempt that ``retry`` repeats, which stands behind this filter, costs nothing
more.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from gatewayd import Filter, Reject
from gatewayd_filters.token_bucket.backend import BackendUnavailable, Verdict
from gatewayd_filters.token_bucket.backends import make_backend, make_local
from gatewayd_filters.token_bucket.config import TokenBucketConfig, from_route
from gatewayd_filters.token_bucket.plans import Plan, Plans
from gatewayd_filters.token_bucket.policy import LEGACY, STANDARD, whole_seconds
from gatewayd_filters.token_bucket.rejections import Rejections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Exchange, Forward, Gateway, Response, Store
    from gatewayd_filters.token_bucket.policy import Line
    from gatewayd_filters.token_bucket.rejections import Row

__all__ = ["TokenBucket", "TokenBucketConfig"]

_FIELDS = frozenset(STANDARD + LEGACY)
_FIELD_NAMES = [name.decode() for name in sorted(_FIELDS)]
_HIGHEST_COST = 1e12
_PASSED = Verdict(True, (), 0.0, 0)


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
        self._invalid_costs = gateway.metrics.counter(
            "gatewayd_rate_limit_invalid_costs",
            "Responses whose cost field holds no number.",
        ).labels()
        self._rejections: Rejections | None = None
        if config.records and (store := gateway.store) is not None:
            self._rejections = gateway.keep(
                ("token_bucket", "records", store),
                lambda: Rejections(partial(_write, store), gateway.metrics),
            )

    async def start(self) -> None:
        """See :meth:`gatewayd.Filter.start`."""
        await self._backend.start()
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
        debt = plan.debt
        charges = plan.costing(self.config.cost + debt) if debt else plan.charges
        try:
            asked = self._backend.take(charges)
            verdict = asked if isinstance(asked, Verdict) else await asked
        except BackendUnavailable:
            debt, charges = 0.0, plan.charges
            verdict = self._do_without(plan)
        if verdict.allowed:
            if debt:
                plan.debt = max(0.0, plan.debt - debt)
            for cell, charge, _ in zip(plan.granted, charges, verdict.remaining):  # noqa: B905
                cell.value += charge.cost
        else:
            self._refuse(plan, verdict)
        response = await forward(exchange)
        if self._tells and verdict.remaining:
            _tell(response, plan.policy.lines(verdict))
        if self.config.cost_header is not None:
            await self._settle(plan, response, self.config.cost_header)
        return response

    def _do_without(self, plan: Plan) -> Verdict:
        """Decide without the backend, as ``on_outage`` says.

        Raises:
            Reject: 503 ``rate_limit_unavailable``.

        """
        self._unavailable.value += 1
        if self.config.on_outage == "open":
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
        lines = plan.policy.lines(verdict) if self._tells else ()
        fields = [(name.decode(), value.decode()) for name, value in lines]
        if verdict.retry_after < math.inf:
            fields.append(("Retry-After", str(max(1, whole_seconds(verdict.retry_after)))))
        raise Reject(429, "rate_limited", "There were too many requests; try again later.", fields)

    async def _settle(self, plan: Plan, response: Response, name: str) -> None:
        """Take what the upstream says that the request has cost, above what was taken before."""
        text = response.headers.get(name)
        if text is None:
            return
        response.headers.remove(name)
        try:
            cost = float(text)
        except ValueError:
            cost = math.nan
        if not 0 <= cost <= _HIGHEST_COST:
            self._invalid_costs.value += 1
            return
        extra = cost - self.config.cost
        if extra <= 0:
            return
        charges = plan.costing(extra)
        try:
            asked = self._backend.take(charges)
            verdict = asked if isinstance(asked, Verdict) else await asked
        except BackendUnavailable:
            plan.owe(extra)
            return
        if not verdict.allowed:
            plan.owe(extra)
            return
        for cell, charge in zip(plan.granted, charges, strict=True):
            cell.value += charge.cost


async def _write(store: Store, rows: Sequence[Row]) -> None:
    """Write to the store, which is not opened before there is something to write."""
    await store.start()
    await store.rate_limit_records.add(rows)


def _tell(response: Response, lines: tuple[Line, ...]) -> None:
    """Add the fields of the gateway's limit, in the place of those of the upstream's own."""
    headers = response.headers
    if not _FIELDS.isdisjoint(headers.index):
        headers.remove(*_FIELD_NAMES)
    headers.extend(lines)
