"""Buckets in the memory of one process.

A bucket is the tokens that were there at some time, and that time: what has come since is added
when somebody asks. The times of successive questions are subtracted from each other exactly
(Sterbenz' lemma), so errors of rounding do not add up to tokens, whatever the rate.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

from gatewayd_filters.token_bucket.backend import Charge, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd_filters.token_bucket.backend import Limit
    from gatewayd_filters.token_bucket.meter import Meter

TOLERANCE = 1e-6
"""Tokens that may be missing: who waits as long as told is not refused for an error of rounding.
They are owed then, so that they are not given twice."""

_LOOKED_AT = 8
"""Buckets among which one is forgotten for a new one, the longest known first."""


class Bucket:
    """One bucket.

    Attributes:
        limit: Its limit.
        tokens: What it held at ``stamp``.
        stamp: When that was, by the gateway's clock.
        granted: Tokens taken since ``since``, for the meter.
        since: When the meter's window began.

    """

    __slots__ = ("granted", "limit", "since", "stamp", "tokens")

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self.tokens = limit.burst
        self.stamp = now
        self.granted = 0.0
        self.since = now

    def full_at(self) -> float:
        """Return when it is full again, after which it says nothing that a new one does not."""
        return self.stamp + (self.limit.burst - self.tokens) / self.limit.rate


class MemoryBackend:
    """Token buckets of one process.

    Args:
        clock: Monotonic seconds. Should it go back, no token comes until it has caught up.
        max_buckets: Buckets that are kept.
        meter: Is told what was granted in each window, and of buckets that were forgotten before
            they were full: each has given its caller up to one burst again.

    """

    def __init__(self, clock: Callable[[], float], max_buckets: int, meter: Meter) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._meter = meter
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, charges: Sequence[Charge]) -> Verdict:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.take`."""
        now = self._clock()
        if len(charges) != 1:
            return self._take_all(charges, now)
        charge = charges[0]
        key, limit = charge.key, charge.limit
        bucket = self._buckets.get(key)
        if bucket is None or bucket.limit is not limit:
            bucket = self._prepare(key, limit, now)
        burst, tokens = limit.burst, bucket.tokens
        if now > bucket.stamp:
            tokens += (now - bucket.stamp) * limit.rate
            bucket.stamp = now
        if tokens > burst:
            tokens = burst
        verdict = judge(charges, (tokens,))
        (bucket.tokens,) = verdict.remaining
        if verdict.allowed:
            bucket.granted += charge.cost
            if now - bucket.since >= self._meter.window:
                self._measure(key, bucket, now)
        return verdict

    def _take_all(self, charges: Sequence[Charge], now: float) -> Verdict:
        buckets, tokens = [], []
        for charge in charges:
            key, limit = charge.key, charge.limit
            bucket = self._buckets.get(key)
            if bucket is None or bucket.limit is not limit:
                bucket = self._prepare(key, limit, now)
            self._buckets.move_to_end(key)  # not to be forgotten for the next one's sake
            if now > bucket.stamp:
                bucket.tokens += (now - bucket.stamp) * limit.rate
                bucket.stamp = now
            if bucket.tokens > limit.burst:
                bucket.tokens = limit.burst
            buckets.append(bucket)
            tokens.append(bucket.tokens)
        verdict = judge(charges, tokens)
        if verdict.allowed:
            for index, bucket in enumerate(buckets):
                bucket.tokens = verdict.remaining[index]
                bucket.granted += charges[index].cost
                if now - bucket.since >= self._meter.window:
                    self._measure(charges[index].key, bucket, now)
        return verdict

    def _measure(self, key: str, bucket: Bucket, now: float) -> None:
        self._meter.observe(key, bucket.limit, bucket.granted, now - bucket.since)
        bucket.granted, bucket.since = 0.0, now

    def _prepare(self, key: str, limit: Limit, now: float) -> Bucket:
        """Return the bucket of a key, a full one where it is new, with this limit."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max_buckets:
                self._make_room(now)
            bucket = self._buckets[key] = Bucket(limit, now)
        elif bucket.limit != limit:  # what it holds by now came at the rate of before
            earned = max(0.0, now - bucket.stamp) * bucket.limit.rate
            bucket.tokens = min(bucket.tokens + earned, bucket.limit.burst, limit.burst)
            bucket.stamp = max(now, bucket.stamp)
            bucket.granted, bucket.since = 0.0, now
        bucket.limit = limit
        return bucket

    def _make_room(self, now: float) -> None:
        """Forget a bucket: full ones cost nothing, else the one that is full the soonest."""
        buckets = self._buckets
        looked_at = list(islice(buckets.items(), min(_LOOKED_AT, self._max_buckets)))
        full = [key for key, bucket in looked_at if bucket.full_at() <= now]
        if not full:
            full = [min(looked_at, key=lambda item: item[1].full_at())[0]]
            self._meter.evicted.value += 1
        for key in full:
            del buckets[key]
        for key, _ in looked_at:  # the next one looks at others
            if key in buckets:
                buckets.move_to_end(key)

    async def held(self, charge: Charge) -> float:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.held`."""
        if charge.key not in self._buckets:
            return charge.limit.burst
        return self.take((Charge(charge.key, charge.limit, 0.0),)).remaining[0]

    async def fill(self, charge: Charge) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.fill`."""
        self._buckets.pop(charge.key, None)  # one that is not there is full

    async def start(self) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.start`."""

    async def close(self) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.close`."""

    def __len__(self) -> int:
        return len(self._buckets)


def _wait_for(limit: Limit, cost: float, tokens: float) -> float:
    """Return the seconds until a bucket holds the cost; infinity where it never does."""
    return (cost - tokens) / limit.rate if cost <= limit.burst else math.inf


def judge(charges: Sequence[Charge], tokens: Sequence[float]) -> Verdict:
    """Decide what several buckets, brought up to date, allow together."""
    if len(charges) == 1:  # mostly; it takes half of the time
        charge, held = charges[0], tokens[0]
        if held + TOLERANCE < charge.cost:
            return Verdict(False, (held,), _wait_for(charge.limit, charge.cost, held), 0)
        return Verdict(True, (held - charge.cost,), 0.0, 0)
    longest, refusing = 0.0, -1
    fewest, scarcest = math.inf, 0
    left = []
    for index, charge in enumerate(charges):
        limit, cost, held = charge.limit, charge.cost, tokens[index]
        if held + TOLERANCE < cost:
            wait = _wait_for(limit, cost, held)
            if wait > longest:
                longest, refusing = wait, index
        elif held / cost < fewest:
            fewest, scarcest = held / cost, index
        left.append(held - cost)
    if refusing >= 0:
        return Verdict(False, tuple(tokens), longest, refusing)
    return Verdict(True, tuple(left), 0.0, scarcest)
