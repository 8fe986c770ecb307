"""A process that takes tokens from one shared bucket as fast as it can; run by tests.

``python -m tests.filters.token_bucket.hammer FD KEY RATE BURST`` reads two times of the monotonic
clock, takes until the second, and prints how many tokens it was granted from the first on.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from gatewayd import Metrics, SharedTable
from gatewayd_filters.token_bucket.backend import Charge, Limit
from gatewayd_filters.token_bucket.meter import Meter
from gatewayd_filters.token_bucket.shared import SharedBackend

if TYPE_CHECKING:
    from collections.abc import Sequence


def hammer(arguments: Sequence[str]) -> int:
    descriptor, key, rate, burst = arguments
    backend = SharedBackend(SharedTable(int(descriptor)), Meter(Metrics()))
    charges = [Charge(key, Limit(float(rate), float(burst), 1.0), 1.0)]
    print("ready", flush=True)
    begin, end = map(float, sys.stdin.readline().split())
    granted = 0
    while (now := time.monotonic()) < end:
        if backend.take(charges).allowed and now >= begin:
            granted += 1
    return granted


if __name__ == "__main__":
    print(hammer(sys.argv[1:]))
