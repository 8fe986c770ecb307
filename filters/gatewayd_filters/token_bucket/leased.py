"""Slices of buckets in Redis, served from memory: for rates at which one call a turn is too much.

A worker takes a slice of tokens for a key at once and serves from it until it is used up, or too
old. What it serves was taken from the bucket before, so all workers together never grant more than
the bucket held. What leasing changes is when and who:

- tokens are spent up to ``seconds`` after they were taken, so in an interval of T seconds at most
  ``rate x T + burst + workers x slice`` are granted;
- tokens of a slice that were not spent in time are lost, at most one slice for each worker and
  key, so a worker may refuse while another one still holds tokens.

Slices grow with use: the first question takes what it costs, each further one within ``seconds``
twice as much as the one before, up to ``share`` of the burst. A caller who is seldom seen costs
what it does without leases, and loses nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from gatewayd_filters.token_bucket.backend import Charge, Verdict
from gatewayd_filters.token_bucket.memory import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gatewayd_filters.token_bucket.redis_backend import RedisBackend

MAX_LEASES = 100_000
"""Leases of one process; those unused for longest are given up."""


class Lease:
    """Tokens of one bucket that this worker has taken and not spent.

    Attributes:
        tokens: How many.
        until: When they are lost, by the gateway's clock.
        slice: How many were taken last.
        left: What the bucket held after that.

    """

    __slots__ = ("left", "slice", "tokens", "until")

    def __init__(self) -> None:
        self.tokens = 0.0
        self.until = 0.0
        self.slice = 0.0
        self.left = 0.0


class LeasedBackend:
    """Token buckets in Redis, of which this worker takes slices.

    Args:
        redis: Where the buckets are.
        clock: Monotonic seconds.
        share: Largest slice, as a share of the burst.
        seconds: For how long a slice may be served from.

    """

    def __init__(
        self, redis: RedisBackend, clock: Callable[[], float], *, share: float, seconds: float
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._share = share
        self._seconds = seconds
        self._leases: OrderedDict[str, Lease] = OrderedDict()
        self._fetching: dict[tuple[str, ...], asyncio.Future[None]] = {}

    def take(self, charges: Sequence[Charge]) -> Verdict | Awaitable[Verdict]:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.take`.

        While Redis is away, what was leased is served until it is too old.
        """
        verdict = self._spend(charges)
        return verdict if verdict is not None else self._fetch_and_take(charges)

    def _spend(self, charges: Sequence[Charge]) -> Verdict | None:
        """Take from leases where all have enough."""
        now = self._clock()
        leases = []
        for charge in charges:
            lease = self._leases.get(charge.key)
            if lease is None or now >= lease.until or lease.tokens + TOLERANCE < charge.cost:
                return None
            leases.append(lease)
        remaining = []
        for lease, charge in zip(leases, charges, strict=True):
            lease.tokens -= charge.cost
            remaining.append(lease.tokens + lease.left)
        return _allowed(charges, remaining)

    async def _fetch_and_take(self, charges: Sequence[Charge]) -> Verdict:
        keys = tuple(charge.key for charge in charges)
        fetching = self._fetching.get(keys)
        if fetching is not None:
            await asyncio.shield(fetching)  # one question serves all who ask meanwhile
            # Who gets nothing of it asks for itself, all of them in one call: if one asked and the
            # others waited for it again, N requests above a limit would be N calls one by one.
            return await self._take(charges, slices=False)
        fetching = self._fetching[keys] = asyncio.get_running_loop().create_future()
        try:
            return await self._take(charges, slices=True)
        finally:
            del self._fetching[keys]
            fetching.set_result(None)

    async def _take(self, charges: Sequence[Charge], *, slices: bool) -> Verdict:
        """Take from leases what they have, and ask for the rest.

        A bucket of which enough is leased is not asked for another slice, however often one beside
        it has to be asked: the slices would add up to the whole bucket.

        Args:
            charges: What to take.
            slices: Whether to ask for slices; where there are not enough, for what is needed.

        """
        verdict = self._spend(charges)
        if verdict is not None:
            return verdict
        now = self._clock()
        asked: dict[int, Charge] = {}
        reserved: list[tuple[Lease, float]] = []
        for index, charge in enumerate(charges):
            lease = self._leases.get(charge.key)
            if lease is not None and now < lease.until and lease.tokens + TOLERANCE >= charge.cost:
                reserved.append((lease, charge.cost))
            elif slices:
                asked[index] = Charge(charge.key, charge.limit, self._slice(charge, now))
            else:
                asked[index] = charge
        answer = await self._ask(list(asked.values()), reserved)
        if not answer.allowed and any(one.cost > charges[at].cost for at, one in asked.items()):
            return await self._take(charges, slices=False)
        left = dict(zip(asked, answer.remaining, strict=True))
        if answer.allowed and slices:
            for index, one in asked.items():
                left[index] = self._keep(charges[index], one.cost, left[index], now)
        remaining = [
            left[index] if index in left else self._remaining(charge.key)
            for index, charge in enumerate(charges)
        ]
        if answer.allowed:
            return _allowed(charges, remaining)
        return Verdict(False, tuple(remaining), answer.retry_after, [*asked][answer.limiting])

    async def _ask(
        self, charges: Sequence[Charge], reserved: Sequence[tuple[Lease, float]]
    ) -> Verdict:
        """Ask Redis, while nobody else has what leases give to the same request."""
        for lease, cost in reserved:
            lease.tokens -= cost
        allowed = False
        try:
            verdict = await self._redis.take(charges)
            allowed = verdict.allowed
        finally:
            if not allowed:
                for lease, cost in reserved:
                    lease.tokens += cost
        return verdict

    def _slice(self, charge: Charge, now: float) -> float:
        lease = self._leases.get(charge.key)
        if lease is None or now >= lease.until:
            return charge.cost
        largest = max(charge.cost, charge.limit.burst * self._share)
        return min(max(lease.slice, charge.cost) * 2, largest)

    def _keep(self, charge: Charge, slice_: float, left: float, now: float) -> float:
        """Keep what a slice has beyond what it was asked for; returns what remains in all.

        Args:
            charge: What it was asked for.
            slice_: Tokens that were taken.
            left: What the bucket held after that.
            now: When it was asked.

        """
        lease = self._leases.get(charge.key)
        if lease is None:
            if len(self._leases) >= MAX_LEASES:
                self._leases.popitem(last=False)
            lease = self._leases[charge.key] = Lease()
        else:
            self._leases.move_to_end(charge.key)
        unspent = lease.tokens if now < lease.until else 0.0
        lease.tokens = unspent + slice_ - charge.cost
        lease.until = now + self._seconds
        lease.slice = slice_
        lease.left = left
        return lease.tokens + left

    def _remaining(self, key: str) -> float:
        """Return what is there of a bucket as far as this worker knows."""
        lease = self._leases.get(key)
        return 0.0 if lease is None else lease.tokens + lease.left

    async def held(self, charge: Charge) -> float:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.held`.

        What this worker has taken and not spent counts, as its requests are served from it.
        """
        held = await self._redis.held(charge)
        lease = self._leases.get(charge.key)
        return held if lease is None or self._clock() >= lease.until else held + lease.tokens

    async def fill(self, charge: Charge) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.fill`.

        Slices of other workers remain, and are spent or lost in their time.
        """
        self._leases.pop(charge.key, None)
        await self._redis.fill(charge)

    async def start(self) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.start`."""
        await self._redis.start()

    async def close(self) -> None:
        """Leave the buckets; what is unspent is lost, as at the end of a lease."""


def _allowed(charges: Sequence[Charge], remaining: Sequence[float]) -> Verdict:
    """Return the verdict about tokens that were taken."""
    scarcest = 0
    if len(charges) > 1:
        scarcest = min(range(len(charges)), key=lambda one: remaining[one] / charges[one].cost)
    return Verdict(True, tuple(remaining), 0.0, scarcest)
