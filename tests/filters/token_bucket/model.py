"""A token bucket without any rounding, to hold the real ones against."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from gatewayd_filters.token_bucket.memory import MemoryBackend
from gatewayd_filters.token_bucket.shared import SharedBackend

if TYPE_CHECKING:
    from gatewayd_filters.token_bucket.backend import Limit

Backend: TypeAlias = MemoryBackend | SharedBackend

CLOSE = Fraction(1, 100_000)
"""Tokens about which doubles may differ from the truth."""

_numbers = itertools.count()


def new_key() -> str:
    """Return a key that nobody has used."""
    return f"test|{next(_numbers)}"


class Model:
    """One bucket, in fractions, and all that it has granted."""

    def __init__(self, limit: Limit) -> None:
        self.rate, self.burst = Fraction(limit.rate), Fraction(limit.burst)
        self.tokens = self.burst
        self.now: Fraction | None = None  # of the first question, as there is no bucket before
        self.grants: list[tuple[Fraction, Fraction]] = []

    def advance(self, now: float) -> None:
        later = Fraction(now) if self.now is None else max(self.now, Fraction(now))
        self.tokens = min(self.burst, self.tokens + (later - (self.now or later)) * self.rate)
        self.now = later

    def expects(self, cost: float) -> bool | None:
        """Whether that many tokens are there; None where it is too close to tell."""
        difference = self.tokens - Fraction(cost)
        return None if abs(difference) < CLOSE else difference > 0

    def take(self, cost: float) -> None:
        assert self.now is not None
        self.tokens -= Fraction(cost)
        self.grants.append((self.now, Fraction(cost)))

    def check_every_interval(self) -> None:
        """Check the promise: never more than rate x time + burst, in any interval."""
        for first in range(len(self.grants)):
            since = self.grants[first][0]
            granted = Fraction(0)
            for until, cost in self.grants[first:]:
                granted += cost
                assert granted <= self.rate * (until - since) + self.burst + CLOSE
