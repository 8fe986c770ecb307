"""An instance of three fails under a steady load of GETs, and comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.client import load, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.origin import Fault, FaultyOrigin

INSTANCES = 3


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What clients saw.

    Attributes:
        outcomes: How many requests ended in which way.
        p50, p99, slowest: Seconds, from the fault on.
        late_p99: Seconds, of the last third of the requests.
        calls: Requests that arrived at the faulty instance after it failed.

    """

    outcomes: Counter[str]
    p50: float
    p99: float
    slowest: float
    late_p99: float
    calls: int

    def __str__(self) -> str:
        told = " ".join(f"{number}x{outcome}" for outcome, number in sorted(self.outcomes.items()))
        return (
            f"{told}; p50 {self.p50 * 1000:.0f} ms, p99 {self.p99 * 1000:.0f} ms, slowest "
            f"{self.slowest * 1000:.0f} ms, p99 of the last third {self.late_p99 * 1000:.0f} ms; "
            f"{self.calls} calls to the faulty one"
        )


async def fail_under_load(
    fault: Fault, origins: Sequence[FaultyOrigin], port: int, *, rate: float, seconds: float
) -> LoadResult:
    """Send GETs, make the first instance fail after a fifth of the time, and look at the rest."""
    requests = int(rate * seconds)
    sending = asyncio.ensure_future(load(port, rate=rate, requests=requests))
    await asyncio.sleep(seconds / 5)  # the load goes on for a while as if nothing were
    await origins[0].become(fault)
    origins[0].calls = 0
    seen = await sending
    hit = seen[requests // 5 :]
    return LoadResult(
        Counter(one.outcome for one in seen),
        percentile(hit, 0.5),
        percentile(hit, 0.99),
        max(one.seconds for one in hit),
        percentile(hit[-requests // 3 :], 0.99),
        origins[0].calls,
    )
