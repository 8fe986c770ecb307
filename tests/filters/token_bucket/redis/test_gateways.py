"""Gateways that share a limit over Redis, and what their clients see when it goes away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from tests.support.redis_server import RedisServer, Sentinel
from tests.support.servers import GatewayProcess, Nginx, free_port, wait_until
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
[pipeline]
filters = ["route_match", "token_bucket", "balancer", "upstream"]
[redis]
url = "{redis}"
timeout = {timeout}
probe_interval = 0.05
[filters.token_bucket]
backend = "redis"
rate = "1/day burst 20"
key = "route"
on_outage = "{on_outage}"
nodes = 2
records = false
[[routes]]
name = "all"
service = "origin"
[services.origin]
instances = [{{ url = "http://127.0.0.1:{origin}" }}]
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[int]:
    folder = tmp_path / "origin"
    folder.mkdir()
    port = free_port()
    with Nginx(folder, port, f"server {{ listen {port}; location / {{ return 200; }} }}"):
        yield port


def gateway(
    redis: RedisServer, origin: int, folder: Path, on_outage: str = "closed", timeout: float = 5.0
) -> GatewayProcess:
    folder.mkdir()
    config = CONFIG.format(redis=redis.url, origin=origin, on_outage=on_outage, timeout=timeout)
    return GatewayProcess(config, folder)


def ask(server: GatewayProcess, times: int) -> tuple[Counter[int], list[float]]:
    """Send requests one after the other; return statuses, and seconds of each."""
    statuses: Counter[int] = Counter()
    latencies = []
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(times):
        started = time.monotonic()
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        latencies.append(time.monotonic() - started)
        statuses[response.status] += 1
    connection.close()
    return statuses, latencies


def test_two_gateways_grant_one_burst_together(
    redis: RedisServer, origin: int, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(gateway(redis, origin, tmp_path / name)) for name in ("a", "b")
        ]
        statuses: Counter[int] = Counter()
        for _ in range(20):
            for one in gateways:
                statuses += ask(one, 1)[0]
    assert statuses == {200: 20, 429: 20}


@pytest.mark.parametrize(
    ("number", "timeout"), [(signal.SIGKILL, 5.0), (signal.SIGSTOP, 1.0)], ids=["killed", "hung"]
)
@pytest.mark.parametrize(
    ("on_outage", "expected"),
    [("closed", {503: 30}), ("open", {200: 30}), ("local", {200: 10, 429: 20})],
)
def test_an_outage_is_survived_as_configured(
    redis: RedisServer, origin: int, tmp_path: Path, on_outage: str,
    expected: dict[int, int], number: signal.Signals, timeout: float,
) -> None:  # fmt: skip
    with gateway(redis, origin, tmp_path / "gateway", on_outage, timeout) as server:
        assert ask(server, 1)[0] == {200: 1}
        redis.signal(number)
        statuses, latencies = ask(server, 30)
        slowest = sorted(latencies, reverse=True)[:5]
        print(f"{on_outage}: slowest ms", *(f"{one * 1000:.1f}" for one in slowest))
        assert statuses == expected
        if number == signal.SIGSTOP:
            redis.signal(signal.SIGCONT)
        else:
            redis.wait()
            redis.start()
        server.wait_for_log("Redis is there")
        assert 503 not in ask(server, 3)[0]


async def test_a_slow_redis_costs_its_time_out_and_is_left_alone(
    redis: RedisServer, origin: int, tmp_path: Path
) -> None:
    async with TcpProxy(redis.port) as proxy:
        folder = tmp_path / "gateway"
        config = CONFIG.format(
            redis=f"redis://127.0.0.1:{proxy.port}/0", origin=origin, on_outage="open", timeout=0.1
        )
        folder.mkdir()
        server = GatewayProcess(config, folder)
        try:
            await asyncio.to_thread(server.start)
            assert (await asyncio.to_thread(ask, server, 1))[0] == {200: 1}
            proxy.delay = 5.0
            statuses, latencies = await asyncio.to_thread(ask, server, 30)
            await asyncio.to_thread(server.wait_for_log, "Redis is away")
            proxy.delay = 0.0
            await asyncio.to_thread(server.wait_for_log, "Redis is there")
        finally:
            await asyncio.to_thread(server.stop)
    slowest = sorted(latencies, reverse=True)[:5]
    print("slow: slowest ms", *(f"{one * 1000:.1f}" for one in slowest))
    assert statuses == {200: 30}


def test_a_fail_over_of_sentinel_is_followed(origin: int, tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("first", "second", "sentinel", "gateway")]
    for folder in names:
        folder.mkdir()
    with ExitStack() as stack:
        first = stack.enter_context(RedisServer(names[0]))
        second = RedisServer(names[1], ["--replicaof", "127.0.0.1", str(first.port)])
        stack.enter_context(second)
        sentinel = stack.enter_context(Sentinel(names[2], first.port))
        table = f'sentinel = "main"\nnodes = ["127.0.0.1:{sentinel.port}"]\ntimeout = 5.0'
        config = CONFIG.format(redis=first.url, origin=origin, on_outage="closed", timeout=5.0)
        server = stack.enter_context(
            GatewayProcess(config.replace("timeout = 5.0", table), names[3])
        )
        assert ask(server, 1)[0] == {200: 1}
        wait_until(lambda: sentinel.knows_a_replica(), 30, "Sentinel knows the replica")
        first.signal(signal.SIGKILL)
        first.wait()
        statuses: Counter[int] = Counter()

        def is_back() -> bool:
            now, _ = ask(server, 1)
            statuses.update(now)
            return 200 in now

        wait_until(is_back, 30, "the new master is found")
        print("until the new master was found:", dict(statuses))
        assert statuses.keys() <= {200, 503}
        wait_until(lambda: ask(server, 30)[0][429] > 0, 10, "the limit holds there as well")
