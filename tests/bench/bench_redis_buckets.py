"""CPU time of one check of a token bucket in Redis, alone, with 64 callers at once, and leased.

``make bench-redis-buckets`` runs it, best with nothing else on the machine; it starts a
redis-server of its own. The time is that of this process, what Redis takes for itself is shown
beside it. A check with 64 callers is meant to stay below 15 us.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from gatewayd import Metrics, Redis
from gatewayd.redis.settings import RedisConfig
from gatewayd_filters.token_bucket.backend import Charge, Limit, Verdict
from gatewayd_filters.token_bucket.leased import LeasedBackend
from gatewayd_filters.token_bucket.meter import Meter
from gatewayd_filters.token_bucket.redis_backend import RedisBackend
from tests.bench.cpu import cpu_seconds
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from gatewayd_filters.token_bucket.backend import Backend

CHECKS, ROUNDS = 20_000, 5
LIMIT = Limit(1e8, 1e8, 1.0)


async def measure(backend: Backend, callers: int, server: RedisServer) -> tuple[float, float]:
    """Return the microseconds of a check, of this process and of Redis: the best of several."""
    best = (float("inf"), 0.0)
    for _ in range(ROUNDS):
        started, of_redis = time.process_time(), cpu_seconds(server.pid)
        await asyncio.gather(
            *(ask(backend, number, CHECKS // callers) for number in range(callers))
        )
        spent = (time.process_time() - started, cpu_seconds(server.pid) - of_redis)
        best = min(best, (spent[0] / CHECKS * 1e6, spent[1] / CHECKS * 1e6))
    return best


async def ask(backend: Backend, caller: int, times: int) -> None:
    charges = [Charge(f"bench|{caller}", LIMIT, 1.0)]
    for _ in range(times):
        asked = backend.take(charges)
        verdict = asked if isinstance(asked, Verdict) else await asked
        assert verdict.allowed


async def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as server:
        redis = Redis(RedisConfig(url=server.url, timeout=5.0))
        plain = RedisBackend(redis, prefix="bench:", meter=Meter(Metrics()))
        leased = LeasedBackend(plain, time.monotonic, share=0.05, seconds=1.0)
        await leased.start()
        contenders: list[tuple[str, Backend, int]] = [
            ("alone", plain, 1),
            ("64 callers at once", plain, 64),
            ("leased", leased, 64),
        ]
        for title, backend, callers in contenders:
            own, of_redis = await measure(backend, callers, server)
            print(f"{title:20} {own:7.2f} us   Redis {of_redis:6.2f} us")
        await plain.close()
        await redis.close()


if __name__ == "__main__":
    uvloop.run(main())
