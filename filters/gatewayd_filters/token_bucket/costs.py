"""What a request has cost, where only the response tells.

What that is above the cost which was taken before is taken afterwards. If the bucket does not hold
it, the caller owes it, and its next requests have to pay: the bucket is below zero, in effect, by
up to one burst.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from gatewayd_filters.token_bucket.backend import BackendUnavailable, Charge, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Gateway, Response
    from gatewayd_filters.token_bucket.backend import Backend
    from gatewayd_filters.token_bucket.config import TokenBucketConfig
    from gatewayd_filters.token_bucket.plans import Plan

_HIGHEST = 1e12
_DEBTORS = 10_000


class Debts:
    """Tokens that are owed, by bucket; bounded, those go first that are owed the longest."""

    def __init__(self) -> None:
        self._owed: OrderedDict[str, float] = OrderedDict()

    def of(self, key: str) -> float:
        """Return what is owed."""
        return self._owed.get(key, 0.0)

    def add(self, key: str, tokens: float, most: float) -> None:
        """Let a bucket owe more, up to a bound, or less where ``tokens`` is negative."""
        owed = min(self._owed.get(key, 0.0) + tokens, most)
        if owed > 0:
            self._owed[key] = owed
            if len(self._owed) > _DEBTORS:
                self._owed.popitem(last=False)
        else:
            self._owed.pop(key, None)


class Costs:
    """Takes costs that a field of the response tells.

    Args:
        config: The filter's settings.
        gateway: What the host gives to filters.
        backend: Where the buckets are.

    """

    def __init__(self, config: TokenBucketConfig, gateway: Gateway, backend: Backend) -> None:
        self._backend = backend
        self._cost = config.cost
        self._field = config.cost_header or ""
        self._debts = gateway.keep(("token_bucket", "debts"), Debts)
        self._paying: dict[str, asyncio.Future[None]] = {}
        self._invalid = gateway.metrics.counter(
            "gatewayd_rate_limit_invalid_costs", "Responses whose cost field holds no number."
        ).labels()

    def owes(self, plan: Plan) -> bool:
        """Whether the caller owes something."""
        return self._debts.of(plan.charges[0].key) > 0

    async def take(self, plan: Plan) -> tuple[Verdict, Sequence[Charge]]:
        """Take what a request costs and what its caller owes; returns what was asked for as well.

        Requests that come together do not all pay the same debt: they wait for the first one.

        Raises:
            BackendUnavailable: the backend cannot answer.

        """
        key = plan.charges[0].key
        paying = self._paying.get(key)
        if paying is not None:
            await asyncio.shield(paying)
            return await self._take_owed(plan)
        paying = self._paying[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._take_owed(plan)
        finally:
            del self._paying[key]
            paying.set_result(None)

    async def _take_owed(self, plan: Plan) -> tuple[Verdict, Sequence[Charge]]:
        key = plan.charges[0].key
        charges = _costing(plan, self._cost + self._debts.of(key))
        verdict = await self._ask(charges)
        if verdict.allowed:
            owed = max(charge.cost for charge in charges) - self._cost
            self._debts.add(key, -owed, math.inf)
        return verdict, charges

    async def _ask(self, charges: Sequence[Charge]) -> Verdict:
        asked = self._backend.take(charges)
        return asked if isinstance(asked, Verdict) else await asked

    def forgive(self, key: str) -> None:
        """Let a bucket owe nothing to this worker."""
        self._debts.add(key, -math.inf, 0.0)

    async def settle(self, plan: Plan, response: Response) -> None:
        """Take what the response says, above what was taken before, or let it be owed."""
        text = response.headers.get(self._field)
        if text is None:
            return
        response.headers.remove(self._field)
        try:
            cost = float(text)
        except ValueError:
            cost = math.nan
        if not 0 <= cost <= _HIGHEST:
            self._invalid.value += 1
        elif cost > self._cost:
            await self._take_or_owe(plan, cost - self._cost)

    async def _take_or_owe(self, plan: Plan, tokens: float) -> None:
        charges = _costing(plan, tokens)
        try:
            taken = (await self._ask(charges)).allowed
        except BackendUnavailable:
            taken = False
        if taken:
            plan.count(charges)
        else:
            most = max(charge.limit.burst for charge in charges) - self._cost
            self._debts.add(charges[0].key, tokens, most)


def _costing(plan: Plan, cost: float) -> tuple[Charge, ...]:
    """Return the charges with another cost, as far as the buckets can hold it."""
    return tuple(Charge(one.key, one.limit, min(cost, one.limit.burst)) for one in plan.charges)
