"""Slices of buckets in Redis: fewer calls, within the documented bounds."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gatewayd import ConfigError, Metrics, Redis
from gatewayd.redis.settings import RedisConfig
from gatewayd.testing import FakeClock, make_gateway
from gatewayd_filters.token_bucket import TokenBucket, TokenBucketConfig
from gatewayd_filters.token_bucket.backend import BackendUnavailable, Charge, Limit, Verdict
from gatewayd_filters.token_bucket.leased import LeasedBackend
from gatewayd_filters.token_bucket.meter import Meter
from gatewayd_filters.token_bucket.redis_backend import RedisBackend
from tests.filters.token_bucket.model import new_key
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SLOW = Limit(1 / 86_400, 1000.0, 86_400.0)


@asynccontextmanager
async def node(
    url: str, clock: Callable[[], float] = time.monotonic, share: float = 0.1
) -> AsyncIterator[LeasedBackend]:
    redis = Redis(RedisConfig(url=url, timeout=5.0, probe_interval=0.02))
    shared = RedisBackend(redis, prefix="t:", meter=Meter(Metrics()))
    leased = LeasedBackend(shared, clock, share=share, seconds=1.0)
    await leased.start()
    try:
        yield leased
    finally:
        await leased.close()
        await shared.close()
        await redis.close()


async def ask(backend: LeasedBackend, *charges: Charge) -> Verdict:
    asked = backend.take(charges)
    return asked if isinstance(asked, Verdict) else await asked


def calls_of(server: RedisServer) -> int:
    found = re.search(r"cmdstat_evalsha:calls=(\d+)", server.cli("info", "commandstats"))
    return int(found[1]) if found else 0


async def test_slices_grow_up_to_the_share_of_the_burst(redis_server: RedisServer) -> None:
    one = Charge(new_key(), SLOW, 1.0)
    clock = FakeClock()
    async with node(redis_server.url, clock) as backend:
        await ask(backend, one)  # loads the script
        redis_server.cli("config", "resetstat")
        for _ in range(500):
            assert (await ask(backend, one)).allowed
    # 2, 4, ... 64, 100, 100, 100, 100: ten slices instead of 500 questions.
    assert calls_of(redis_server) == 10


async def test_one_question_serves_all_who_ask_meanwhile(redis_server: RedisServer) -> None:
    one = Charge(new_key(), SLOW, 1.0)
    async with node(redis_server.url, FakeClock()) as backend:
        for _ in range(100):
            await ask(backend, one)
        redis_server.cli("config", "resetstat")
        verdicts = await asyncio.gather(*(ask(backend, one) for _ in range(150)))
    assert all(verdict.allowed for verdict in verdicts)
    assert calls_of(redis_server) <= 3


async def test_many_above_a_limit_are_refused_with_few_questions(
    redis_server: RedisServer,
) -> None:
    one = Charge(new_key(), Limit(1 / 86_400, 5.0, 86_400.0), 1.0)
    async with node(redis_server.url, FakeClock()) as backend:
        for _ in range(5):
            await ask(backend, one)
        redis_server.cli("config", "resetstat")
        verdicts = await asyncio.gather(*(ask(backend, one) for _ in range(300)))
    assert not any(verdict.allowed for verdict in verdicts)
    assert calls_of(redis_server) <= 4  # one, and 299 in batches


async def test_all_that_the_bucket_holds_can_be_used_and_no_more(
    redis_server: RedisServer,
) -> None:
    one = Charge(new_key(), Limit(1 / 86_400, 250.0, 86_400.0), 1.0)
    async with node(redis_server.url, FakeClock()) as backend:
        verdicts = [await ask(backend, one) for _ in range(300)]
    assert sum(verdict.allowed for verdict in verdicts) == 250


async def test_nodes_together_grant_no_more_than_the_bucket_held(
    redis_server: RedisServer,
) -> None:
    one = Charge(new_key(), SLOW, 1.0)
    clock = FakeClock()
    async with node(redis_server.url, clock) as first, node(redis_server.url, clock) as second:
        granted = 0
        for _ in range(800):
            for backend in (first, second):
                granted += (await ask(backend, one)).allowed
    assert granted == 1000  # each has spent its last slice, as no time has passed


async def test_what_is_unspent_at_its_end_is_lost_one_slice_at_most(
    redis_server: RedisServer,
) -> None:
    one = Charge(new_key(), SLOW, 1.0)
    clock = FakeClock()
    async with node(redis_server.url, clock) as backend:
        for _ in range(200):
            await ask(backend, one)
        clock.advance(1.0)
        granted = 200
        while (await ask(backend, one)).allowed:
            granted += 1
    assert 900 <= granted < 1000


async def test_several_buckets_or_none(redis_server: RedisServer) -> None:
    caller = new_key()
    wide = Charge(f"wide|{caller}", SLOW, 1.0)
    narrow = Charge(f"narrow|{caller}", Limit(1 / 86_400, 50.0, 86_400.0), 1.0)
    async with node(redis_server.url, FakeClock()) as backend:
        verdicts = [await ask(backend, wide, narrow) for _ in range(80)]
    assert sum(verdict.allowed for verdict in verdicts) == 50


async def test_a_bucket_is_asked_for_no_slice_while_there_is_one(
    redis_server: RedisServer,
) -> None:
    """A narrow limit that is asked for each request takes no slice of the wide one each time."""
    caller = new_key()
    wide = Charge(f"wide|{caller}", SLOW, 1.0)
    narrow = Charge(f"narrow|{caller}", Limit(1e6, 10.0, 1.0), 1.0)
    clock = FakeClock()
    async with node(redis_server.url, clock) as backend:
        for _ in range(200):
            assert (await ask(backend, wide, narrow)).allowed
        clock.advance(1.0)  # what is left of one slice is lost
        granted = 200
        while (await ask(backend, wide, narrow)).allowed:
            granted += 1
    assert 900 <= granted <= 1000


async def test_what_is_leased_of_one_bucket_is_spent_while_another_is_asked(
    redis_server: RedisServer,
) -> None:
    caller = new_key()
    wide = Charge(f"wide|{caller}", Limit(1 / 86_400, 10.0, 86_400.0), 1.0)
    narrow = Charge(f"narrow|{caller}", Limit(1 / 86_400, 100.0, 86_400.0), 1.0)
    async with node(redis_server.url, FakeClock(), share=1.0) as backend:
        for _ in range(4):  # takes 1, 2 and 4
            assert (await ask(backend, wide)).allowed
        for _ in range(6):
            assert (await ask(backend, narrow, wide)).allowed
        verdict = await ask(backend, narrow, wide)
        # Nothing of the narrow one was taken by the question that the wide one refused.
        left = await backend.held(narrow)
    assert (verdict.allowed, verdict.limiting) == (False, 1)
    assert verdict.remaining == pytest.approx((94.0, 0.0), abs=0.01)
    assert left == pytest.approx(94.0, abs=0.01)


async def test_what_is_refused_takes_nothing_of_what_is_leased(
    redis_server: RedisServer,
) -> None:
    caller = new_key()
    wide = Charge(f"wide|{caller}", Limit(1 / 86_400, 100.0, 86_400.0), 1.0)
    narrow = Charge(f"narrow|{caller}", Limit(1 / 86_400, 1.0, 86_400.0), 1.0)
    async with node(redis_server.url, FakeClock(), share=1.0) as backend:
        for _ in range(4):  # takes 1, 2 and 4 of the wide one
            await ask(backend, wide)
        await ask(backend, narrow)
        verdict = await ask(backend, wide, narrow)
        left = await backend.held(wide)
    assert (verdict.allowed, verdict.limiting) == (False, 1)
    assert left == pytest.approx(96.0, abs=0.01)


async def test_what_remains_is_told_of_the_whole_bucket(redis_server: RedisServer) -> None:
    one = Charge(new_key(), Limit(1 / 86_400, 100.0, 86_400.0), 1.0)
    async with node(redis_server.url, FakeClock()) as backend:
        remaining = [(await ask(backend, one)).remaining[0] for _ in range(6)]
    assert remaining == pytest.approx([99.0, 98.0, 97.0, 96.0, 95.0, 94.0], abs=0.01)


async def test_rate_and_burst_hold_within_the_bound(redis_server: RedisServer) -> None:
    """Of three nodes: never above rate x T + burst + nodes x slice, nor far below the rate."""
    limit = Limit(500.0, 400.0, 1.0)
    one = Charge(new_key(), limit, 1.0)
    granted = 0

    async def hammer(backend: LeasedBackend, until: float) -> None:
        nonlocal granted
        while time.monotonic() < until:
            verdict = await ask(backend, one)
            granted += verdict.allowed
            await asyncio.sleep(0)

    async with (
        node(redis_server.url, share=0.05) as first,
        node(redis_server.url, share=0.05) as second,
        node(redis_server.url, share=0.05) as third,
    ):
        started = time.monotonic()
        until = started + 1.5
        nodes = (first, second, third)
        await asyncio.gather(*(hammer(each, until) for each in nodes for _ in range(16)))
        elapsed = time.monotonic() - started
    expected = limit.rate * elapsed + limit.burst
    print(f"granted {granted} of {expected:.0f}: {granted / expected - 1:+.2%}")
    assert granted <= expected + 3 * 0.05 * limit.burst
    assert granted >= 0.9 * expected


async def test_leases_outlive_redis_for_their_time(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    one = Charge(new_key(), SLOW, 1.0)
    clock = FakeClock()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        async with node(server.url, clock) as backend:
            for _ in range(130):
                await ask(backend, one)
            server.signal(signal.SIGKILL)
            server.wait()
            assert (await ask(backend, one)).allowed
            clock.advance(1.0)
            with pytest.raises(BackendUnavailable):
                await ask(backend, one)


def test_only_buckets_in_redis_are_leased() -> None:
    config = TokenBucketConfig.model_validate({"rate": 10, "lease": {}})
    with pytest.raises(ConfigError, match="leases are of buckets"):
        TokenBucket(config, make_gateway())
