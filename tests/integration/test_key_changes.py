"""API keys that are made and revoked while gateways run, in processes of their own."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.held_origin import HeldOrigin
from tests.support.servers import GatewayProcess, Process, free_port, require_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

CONFIG = """
{redis}
[server]
workers = 2

[store]
url = "sqlite:///gatewayd.db"

[pipeline]
filters = ["ops", "route_match", "auth", "balancer", "upstream"]

[services.origin]
instances = [{{ url = "http://127.0.0.1:{port}" }}]

[[routes]]
name = "all"
service = "origin"
"""
CONNECTIONS = 12
"""Enough for each of two workers to get one, but for once in two thousand times."""


@pytest.fixture
def origin() -> Iterator[HeldOrigin]:
    with HeldOrigin() as origin:
        yield origin


def keys(gateway: GatewayProcess, *arguments: str) -> str:
    config = str(gateway.config_file)
    command = [sys.executable, "-m", "gatewayd", "keys", *arguments, "-c", config]
    done = subprocess.run(
        command, cwd=gateway.config_file.parent, stdout=subprocess.PIPE, text=True, check=True
    )
    return str(done.stdout).strip()


def answers(gateway: GatewayProcess, key: str) -> set[int]:
    """Ask on connections of their own; return the statuses."""
    statuses = set()
    for _ in range(CONNECTIONS):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request("GET", "/", headers={"X-API-Key": key})
        statuses.add(connection.getresponse().status)
        connection.close()
    return statuses


def seconds_until(gateway: GatewayProcess, key: str, status: int) -> float:
    """Wait until all workers give this answer; return how long it took."""
    started = time.monotonic()
    gateway.wait_for(lambda: answers(gateway, key) == {status}, f"only {status}")
    return time.monotonic() - started


@pytest.fixture(params=["alone", "with Redis"])
def gateway(
    request: pytest.FixtureRequest, origin: HeldOrigin, tmp_path: Path
) -> Iterator[tuple[GatewayProcess, float]]:
    """Run two workers; tell within how many seconds they have to know a change."""
    with ExitStack() as stack:
        config, bound = "", 10.0
        if request.param == "with Redis":
            program = require_program("redis-server", package="redis-server")
            port = free_port()
            command: list[str | Path] = [
                program,
                "--port",
                str(port),
                "--save",
                "",
                "--bind",
                "127.0.0.1",
            ]
            stack.enter_context(Process(command, tmp_path / "redis.log", port=port))
            config, bound = f'[redis]\nurl = "redis://127.0.0.1:{port}/0"\n', 2.0
        text = CONFIG.format(redis=config, port=origin.server_port)
        yield stack.enter_context(GatewayProcess(text, tmp_path)), bound


def test_every_worker_knows_a_change_in_time(gateway: tuple[GatewayProcess, float]) -> None:
    process, bound = gateway
    key = keys(process, "create", "--owner", "shop")
    assert seconds_until(process, key, 200) < bound
    rotated = keys(process, "rotate", key.split("_")[1])
    assert seconds_until(process, key, 401) < bound
    assert answers(process, rotated) == {200}
    keys(process, "revoke", key.split("_")[1])
    assert seconds_until(process, rotated, 401) < bound
