"""A set of limits, and what responses tell of it.

``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers (the form with
one structured field for all policies): ``q`` tokens may be used in ``w`` seconds, ``r`` are left,
and in ``t`` seconds all of them are back. Of a token bucket the quota is its burst, and the window
the time in which that comes back, so that ``q / w`` is the rate; a client that believed in
``q=10;w=60`` of a limit ``10/minute burst 2`` would send ten requests and have eight refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gatewayd import Headers
from gatewayd_filters.token_bucket.limits import period_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd_filters.token_bucket.backend import Limit, Verdict
    from gatewayd_filters.token_bucket.config import HeadersConfig

Line = tuple[bytes, bytes]

_REMEMBERED = 1024
"""States of a policy whose fields are kept."""

_ROUNDING = 1e-6
"""Seconds that an error of rounding may make."""

STANDARD = (b"ratelimit-policy", b"ratelimit")
LEGACY = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")


def whole_seconds(seconds: float) -> int:
    """Round a time to wait up, but not for an error of rounding."""
    return math.ceil(seconds - _ROUNDING)


class Policy:
    """The limits of some callers.

    Args:
        limits: The limits.
        headers: Which fields responses get.

    Attributes:
        limits: The same.
        names: What tells them apart, in fields and in the names of buckets.

    """

    __slots__ = ("_announced", "_headers", "_limit_lines", "_made", "_templates", "limits", "names")

    def __init__(self, limits: Sequence[Limit], headers: HeadersConfig) -> None:
        self.limits = tuple(limits)
        self.names = _names(limits)
        quotas = [
            f'"{name}";q={int(limit.burst)};w={math.ceil(limit.burst / limit.rate)}'
            for name, limit in zip(self.names, limits, strict=True)
        ]
        self._announced = (b"RateLimit-Policy", ", ".join(quotas).encode())
        self._templates = tuple(f'"{name}";r=%d;t=%d'.encode() for name in self.names)
        self._limit_lines = tuple(
            (b"X-RateLimit-Limit", b"%d" % int(limit.burst)) for limit in limits
        )
        self._headers = headers
        self._made: dict[object, Headers] = {}

    def fields(self, verdict: Verdict) -> Headers:
        """Return the fields that tell of a verdict; for adding to others, not for changing."""
        remaining = verdict.remaining
        # Numbers are whole, and callers come again, so there are not many different ones.
        state: object
        if len(remaining) == 1:  # mostly; it takes a quarter less
            state = _left(remaining[0], self.limits[0])
        else:
            state = (*map(_left, remaining, self.limits), verdict.limiting)
        made = self._made.get(state)
        if made is None:
            if len(self._made) >= _REMEMBERED:
                self._made.clear()
            left = [*map(_left, remaining, self.limits)]
            made = self._made[state] = Headers.of_lines(self._make(left, verdict.limiting))
        return made

    def _make(self, left: Sequence[tuple[float, float]], limiting: int) -> tuple[Line, ...]:
        lines: tuple[Line, ...] = ()
        if self._headers.standard:
            items = [template % pair for template, pair in zip(self._templates, left, strict=True)]
            lines += (self._announced, (b"RateLimit", b", ".join(items)))
        if self._headers.legacy:
            remaining, reset = left[limiting]
            lines += (
                self._limit_lines[limiting],
                (b"X-RateLimit-Remaining", b"%d" % remaining),
                (b"X-RateLimit-Reset", b"%d" % reset),
            )
        return lines


def _left(held: float, limit: Limit) -> tuple[float, float]:
    """Return the whole tokens that a bucket holds, and the seconds until it is full.

    Rounded by division, which takes half the time of int() and ceil(), and keeps them floats.
    """
    until_full = (limit.burst - held) / limit.rate
    return held // 1 if held > 0 else 0.0, -((_ROUNDING - until_full) // 1)


def _names(limits: Sequence[Limit]) -> tuple[str, ...]:
    """Name limits: ``default`` where there is one, else by period, with a number where needed."""
    if len(limits) == 1:
        return ("default",)
    names: list[str] = []
    for limit in limits:
        period = period_of(limit)
        same = sum(name.partition("-")[0] == period for name in names)
        names.append(f"{period}-{same + 1}" if same else period)
    return tuple(names)
