"""Buckets that all workers of a node share.

The arithmetic is that of :mod:`gatewayd_filters.token_bucket.memory`, on a record of the node's
shared table and under its lock. The time is written before the tokens: a worker that is killed
between the two has lost what had come in since, and has given nothing away.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from gatewayd import LockStuck
from gatewayd_filters.token_bucket.backend import BackendUnavailable, Charge, Limit, Verdict
from gatewayd_filters.token_bucket.memory import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd import Mutex, SharedPlace, SharedTable
    from gatewayd_filters.token_bucket.meter import Meter

T = TypeVar("T")

# Words of a record.
_EXPIRES = 2
_RATE, _BURST, _TOKENS, _STAMP, _GRANTED, _SINCE = range(3, 9)

_HELD_SECONDS = 60.0
"""For how long a record counts as not full while a question is under way."""


class SharedBackend:
    """Token buckets in memory that workers share.

    Args:
        table: The node's shared table.
        meter: Is told what was granted in each window.
        clock: Monotonic seconds, the same for all processes; the one of the event loop stands
            still while callbacks run, and counts milliseconds.

    """

    def __init__(
        self, table: SharedTable, meter: Meter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._numbers = table.numbers
        self._places = table.places
        self._meter = meter
        self._clock = clock

    def take(self, charges: Sequence[Charge]) -> Verdict:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.take`."""
        if len(charges) != 1:
            return self._locked(charges, self._take_all)
        charge = charges[0]
        key, limit = charge.key, charge.limit
        place = self._places.get(key) or self._table.place(key)
        try:
            place.mutex.acquire()
        except LockStuck as stuck:
            raise BackendUnavailable(str(stuck)) from None
        try:
            now = self._clock()
            index = self._prepare(place, limit, now)
            verdict = judge(charges, (self._fill(index, limit, now),))
            (tokens,) = verdict.remaining
            if verdict.allowed:
                self._count(index, key, limit, charge.cost, now)
            self._numbers[index + _TOKENS] = tokens
            self._numbers[index + _EXPIRES] = now + (limit.burst - tokens) / limit.rate
        finally:
            place.mutex.release()
        return verdict

    def _locked(
        self,
        charges: Sequence[Charge],
        work: Callable[[Sequence[Charge], Sequence[SharedPlace]], T],
    ) -> T:
        """Work on several buckets, whose locks all processes take in the same order.

        Raises:
            BackendUnavailable: a lock cannot be had.

        """
        places = [self._table.place(charge.key) for charge in charges]
        mutexes = {place.start: place.mutex for place in places}
        held: list[Mutex] = []
        try:
            for _, mutex in sorted(mutexes.items()):
                mutex.acquire()
                held.append(mutex)
            return work(charges, places)
        except LockStuck as stuck:
            raise BackendUnavailable(str(stuck)) from None
        finally:
            for mutex in held:
                mutex.release()

    def _take_all(self, charges: Sequence[Charge], places: Sequence[SharedPlace]) -> Verdict:
        now = self._clock()
        numbers = self._numbers
        indexes = []
        for place, charge in zip(places, charges, strict=True):
            index = self._prepare(place, charge.limit, now)
            numbers[index + _EXPIRES] = now + _HELD_SECONDS  # not to be taken for the next one
            indexes.append(index)
        tokens = [
            self._fill(index, charge.limit, now)
            for index, charge in zip(indexes, charges, strict=True)
        ]
        verdict = judge(charges, tokens)
        for index, charge, left in zip(indexes, charges, verdict.remaining, strict=True):
            limit = charge.limit
            if verdict.allowed:
                self._count(index, charge.key, limit, charge.cost, now)
            numbers[index + _TOKENS] = left
            numbers[index + _EXPIRES] = now + (limit.burst - left) / limit.rate
        return verdict

    def _prepare(self, place: SharedPlace, limit: Limit, now: float) -> int:
        """Return the record of a bucket, a full one where it is new, with this limit."""
        numbers = self._numbers
        index = self._table.find(place)
        if index < 0:
            evicted = self._table.evicted
            index = self._table.claim(place, now)
            self._meter.evicted.value += self._table.evicted - evicted
            numbers[index + _RATE], numbers[index + _BURST] = limit.rate, limit.burst
            numbers[index + _TOKENS], numbers[index + _STAMP] = limit.burst, now
            numbers[index + _GRANTED], numbers[index + _SINCE] = 0.0, now
            self._table.name(place, index)
        elif numbers[index + _RATE] != limit.rate or numbers[index + _BURST] != limit.burst:
            # What it holds by now came at the rate of before.
            before = Limit(numbers[index + _RATE], numbers[index + _BURST], 0.0)
            numbers[index + _TOKENS] = min(self._fill(index, before, now), limit.burst)
            numbers[index + _RATE], numbers[index + _BURST] = limit.rate, limit.burst
            numbers[index + _GRANTED], numbers[index + _SINCE] = 0.0, now
        return index

    def _fill(self, index: int, limit: Limit, now: float) -> float:
        """Return the tokens that a bucket holds now, which the caller writes; takes the time."""
        numbers = self._numbers
        tokens = numbers[index + _TOKENS]
        stamp = numbers[index + _STAMP]
        if now > stamp:
            tokens += (now - stamp) * limit.rate
            numbers[index + _STAMP] = now
        return tokens if tokens < limit.burst else limit.burst  # noqa: FURB136  # min() costs 0.1 us

    def _count(self, index: int, key: str, limit: Limit, cost: float, now: float) -> None:
        """Count tokens for the meter, and tell it of a window that has ended."""
        numbers = self._numbers
        granted = numbers[index + _GRANTED] + cost
        seconds = now - numbers[index + _SINCE]
        if seconds >= self._meter.window:
            self._meter.observe(key, limit, granted, seconds)
            granted, numbers[index + _SINCE] = 0.0, now
        numbers[index + _GRANTED] = granted

    async def held(self, charge: Charge) -> float:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.held`."""
        return self.take((Charge(charge.key, charge.limit, 0.0),)).remaining[0]

    async def fill(self, charge: Charge) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.fill`."""
        self._locked([charge], self._fill_all)

    def _fill_all(self, charges: Sequence[Charge], places: Sequence[SharedPlace]) -> None:
        numbers, now = self._numbers, self._clock()
        for charge, place in zip(charges, places, strict=True):
            index = self._prepare(place, charge.limit, now)
            numbers[index + _STAMP] = now
            numbers[index + _TOKENS] = charge.limit.burst
            numbers[index + _EXPIRES] = now
            numbers[index + _GRANTED], numbers[index + _SINCE] = 0.0, now

    async def start(self) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.start`."""

    async def close(self) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.close`."""
