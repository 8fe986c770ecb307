"""Gateways that share a limit over Redis, and what their clients see when it goes away."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from tests.support.redis_server import RedisServer
from tests.support.servers import GatewayProcess, Nginx, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
[pipeline]
filters = ["route_match", "token_bucket", "balancer", "upstream"]
[redis]
url = "{redis}"
timeout = 0.1
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
    redis: RedisServer, origin: int, folder: Path, on_outage: str = "closed"
) -> GatewayProcess:
    folder.mkdir()
    config = CONFIG.format(redis=redis.url, origin=origin, on_outage=on_outage)
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
@pytest.mark.parametrize(
    ("on_outage", "expected"),
    [("closed", {503: 30}), ("open", {200: 30}), ("local", {200: 10, 429: 20})],
)
def test_an_outage_is_survived_as_configured(
    redis: RedisServer, origin: int, tmp_path: Path, on_outage: str,
    expected: dict[int, int], number: signal.Signals,
) -> None:  # fmt: skip
    with gateway(redis, origin, tmp_path / "gateway", on_outage) as server:
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
