"""A process that takes tokens from one bucket in Redis as fast as it can; run by tests.

``python -m tests.filters.token_bucket.redis.hammer URL CLUSTER KEY RATE BURST`` reads two times of
the Unix clock, takes from the first to the second with several callers at once, and prints how many
tokens it was granted.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from gatewayd import Metrics, Redis
from gatewayd.redis.settings import RedisConfig
from gatewayd_filters.token_bucket.backend import Charge, Limit
from gatewayd_filters.token_bucket.meter import Meter
from gatewayd_filters.token_bucket.redis_backend import RedisBackend

CALLERS = 8


async def hammer(url: str, cluster: str, key: str, rate: str, burst: str) -> int:
    """Return the tokens that were granted."""
    redis = Redis(RedisConfig(url=url, cluster=cluster == "cluster", timeout=5.0))
    backend = RedisBackend(redis, prefix="t:", meter=Meter(Metrics()))
    await backend.start()
    charges = [Charge(key, Limit(float(rate), float(burst), 1.0), 1.0)]
    print("ready", flush=True)
    begin, end = map(float, sys.stdin.readline().split())
    await asyncio.sleep(begin - time.time())
    granted = 0

    async def call() -> None:
        nonlocal granted
        while time.time() < end:
            verdict = await backend.take(charges)
            granted += verdict.allowed

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    await backend.close()
    await redis.close()
    return granted


if __name__ == "__main__":
    print(uvloop.run(hammer(*sys.argv[1:])))
