"""Limits as people write them: ``100``, ``"100/minute"``, ``"10/second burst 50"``."""

from __future__ import annotations

import math
import re

from gatewayd_filters.token_bucket.backend import Limit

SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
"""Length of each period that a limit may be written with."""

EXPECTED = (
    'expected a number of requests per second, such as 100, or text such as "100/minute" or '
    '"10/second burst 50"; periods are second, minute, hour and day'
)
_HIGHEST = 1e12
"""Beyond it, fractions of a token are lost in a double. No gateway comes near."""
_LOWEST = 1e-9
"""What the digits of a text can say."""
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_TEXT = re.compile(
    rf"(?P<count>{_NUMBER})(?: ?/ ?(?P<period>second|minute|hour|day))?"
    rf"(?: +burst +(?P<burst>{_NUMBER}))?"
)


def parse_limit(value: float | str, burst: float | None = None) -> Limit:
    """Return the limit that a number or text stands for.

    Where nothing says how many tokens the bucket holds, it is the count of one period: with
    ``100/minute`` a caller may use its hundred at once, as with the windows of Kong, of APISIX'
    ``limit-count`` and of Envoy's global limits, and then gets one more each 0.6 s. It is never
    less than 1, or nothing could pass.

    Args:
        value: Tokens per second, or ``COUNT[/PERIOD][ burst TOKENS]``.
        burst: Tokens that the bucket holds where the text does not say so.

    Raises:
        ValueError: it is no limit; the message says what was expected.

    """
    count: float
    if isinstance(value, str):
        found = _TEXT.fullmatch(value.strip())
        if found is None:
            raise ValueError(EXPECTED)
        count, window = float(found["count"]), SECONDS[found["period"] or "second"]
        if found["burst"] is not None:
            burst = float(found["burst"])
    elif isinstance(value, bool) or not -math.inf < value < math.inf:
        raise ValueError(EXPECTED)
    else:
        count, window = value, SECONDS["second"]
    if not _LOWEST <= count <= _HIGHEST:
        raise ValueError(f"expected a count from {_LOWEST:.0e} to {_HIGHEST:.0e}")
    if burst is None:
        burst = max(float(count), 1.0)
    if not 0 < burst <= _HIGHEST:
        raise ValueError(f"expected a burst above 0 and up to {_HIGHEST:.0e}")
    return Limit(count / window, burst, window)


def period_of(limit: Limit) -> str:
    """Return the name of the period that a limit was written with."""
    return next(name for name, seconds in SECONDS.items() if seconds == limit.window)
