"""Buckets in Redis that operators look at and fill, with leases and without."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import GatewayError, Redis, Reject
from gatewayd.redis.settings import RedisConfig
from gatewayd.testing import FakeClock, Recorder, make_exchange, make_gateway, running
from gatewayd_filters.token_bucket import TokenBucket
from tests.filters.token_bucket.model import new_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gatewayd import Gateway
    from tests.support.redis_server import RedisServer

ALL = {"prefix": "", "limit": 10}
leases = pytest.mark.parametrize("lease", [None, {"share": 1.0}], ids=["exact", "leased"])


class Node:
    """A filter with five tokens a day for each address, and its operations."""

    def __init__(self, one: TokenBucket, gateway: Gateway, redis: Redis) -> None:
        self._one = one
        self.redis = redis
        self.admin = gateway.admin
        self.readiness = gateway.readiness

    async def statuses(self, number: int) -> list[int]:
        return [await self._status() for _ in range(number)]

    async def _status(self) -> int:
        try:
            return (await self._one(make_exchange(), Recorder())).status
        except Reject as reject:
            return reject.status

    async def remaining(self) -> list[int]:
        return [round(one["remaining"]) for one in await self.admin.run("buckets.peek", ALL)]


@asynccontextmanager
async def node(url: str, lease: Mapping[str, Any] | None) -> AsyncIterator[Node]:
    redis = Redis(RedisConfig(url=url, timeout=5.0, prefix=new_key().replace("|", ":")))
    gateway = make_gateway(clock=FakeClock(), redis=redis)
    settings = {"backend": "redis", "rate": "5/day", "records": False, "lease": lease}
    async with running(TokenBucket, settings, gateway=gateway) as one:
        yield Node(one, gateway, redis)
    await redis.close()


@leases
async def test_looking_takes_nothing(
    redis_server: RedisServer, lease: Mapping[str, Any] | None
) -> None:
    async with node(redis_server.url, lease) as one:
        await one.statuses(2)
        assert [await one.remaining() for _ in range(3)] == [[3]] * 3


@leases
async def test_a_filled_bucket_grants_its_burst_again(
    redis_server: RedisServer, lease: Mapping[str, Any] | None
) -> None:
    async with node(redis_server.url, lease) as one:
        assert await one.statuses(6) == [200] * 5 + [429]
        await one.admin.run("buckets.reset", ALL)
        assert await one.remaining() == [5]
        assert await one.statuses(6) == [200] * 5 + [429]


async def test_what_was_leased_is_no_more_than_the_burst_after_filling(
    redis_server: RedisServer,
) -> None:
    async with node(redis_server.url, {"share": 1.0}) as one:
        await one.statuses(2)  # of a slice of which something is left
        await one.admin.run("buckets.reset", ALL)
        assert await one.statuses(6) == [200] * 5 + [429]


@leases
@pytest.mark.parametrize("operation", ["buckets.peek", "buckets.reset"])
async def test_buckets_that_cannot_be_reached_are_an_error(
    redis_server: RedisServer, lease: Mapping[str, Any] | None, operation: str
) -> None:
    async with node(redis_server.url, lease) as one:
        await one.statuses(1)
        await one.redis.close()
        with pytest.raises(GatewayError, match="cannot be reached"):
            await one.admin.run(operation, ALL)


async def test_readiness_shows_redis_which_takes_no_worker_out(
    redis_server: RedisServer,
) -> None:
    async with node(redis_server.url, None) as one:
        up = await one.readiness.report()
        await one.redis.close()
        down = await one.readiness.report(cache=0.0)
    assert (up["status"], up["checks"]["redis"]["status"]) == ("ready", "up")
    assert (down["status"], down["checks"]["redis"]["status"]) == ("ready", "down")
