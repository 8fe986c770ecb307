"""The truth meter: what buckets have granted, against what their limits allow.

Each bucket counts the tokens that were taken from it. Once a minute, when it is asked, that number
is divided by ``rate x time + burst``, which is what a limit promises for any interval. A quotient
above 1 is a limit that was not true, whatever the backend believes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd import Metrics
    from gatewayd_filters.token_bucket.backend import Limit

_BOUNDS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.005, 1.05, 1.5)
"""1.0 is the promise, 1.005 what the tests tolerate, and beyond 1.5 it makes no difference."""


class Meter:
    """Takes in what was granted.

    Args:
        metrics: Where it is shown.
        window: Seconds over which a bucket counts.

    Attributes:
        window: The same.
        evicted: Buckets forgotten before they were full.
        damaged: Buckets in Redis that could not be read.

    """

    def __init__(self, metrics: Metrics, window: float = 60.0) -> None:
        self.window = window
        self.evicted = metrics.counter(
            "gatewayd_rate_limit_evicted_buckets",
            "Buckets forgotten before they were full, for lack of room.",
        ).labels()
        self.damaged = metrics.counter(
            "gatewayd_rate_limit_damaged_buckets",
            "Buckets in Redis that could not be read, and began anew as full ones.",
        ).labels()
        self._ratios = metrics.histogram(
            "gatewayd_rate_limit_window_ratio",
            "Tokens granted by a bucket in a minute, divided by rate x time + burst.",
            ("limit",),
            bounds=_BOUNDS,
            max_cells=1024,
        )

    def observe(self, key: str, limit: Limit, granted: float, seconds: float) -> None:
        """Take in one window of one bucket, whose key begins with the name of its limit."""
        ratio = granted / (limit.rate * seconds + limit.burst)
        self._ratios.labels(key.partition("|")[0]).observe(ratio)
