"""The concurrency limit of a gateway with three workers, with exchanges that are held back."""

from __future__ import annotations

import os
import signal
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.held_origin import HeldOrigin, get
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORKERS = 3
CONFIG = """
[server]
workers = {workers}
[pipeline]
filters = ["request_id", "route_match", "concurrency_limit", "balancer", "upstream"]
[filters.concurrency_limit]
limit = 2
[[routes]]
name = "all"
service = "origin"
[services.origin]
instances = [{{ url = "http://127.0.0.1:{port}" }}]
"""


@pytest.fixture
def origin() -> Iterator[HeldOrigin]:
    with HeldOrigin() as origin:
        yield origin


@pytest.fixture
def gateway(origin: HeldOrigin, tmp_path: Path) -> Iterator[GatewayProcess]:
    config = CONFIG.format(workers=WORKERS, port=origin.server_port)
    with GatewayProcess(config, tmp_path) as gateway:
        gateway.wait_for_log("listening on")
        yield gateway


@contextmanager
def held(gateway: GatewayProcess, origin: HeldOrigin) -> Iterator[socket.socket]:
    """Send a request that is not answered as long as the block runs; leave then."""
    origin.slow_started.clear()
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert origin.slow_started.wait(20)
        yield client
        # A reset: a client that only closes its half of the connection still gets its answer.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def status(gateway: GatewayProcess) -> int:
    return get(gateway.port).status


def test_workers_count_together_until_the_client_leaves(
    gateway: GatewayProcess, origin: HeldOrigin
) -> None:
    with held(gateway, origin):
        assert status(gateway) == 200
        with held(gateway, origin):
            assert [status(gateway) for _ in range(20)] == [429] * 20
        gateway.wait_for(lambda: status(gateway) == 200, "the end of an exchange")


def test_what_killed_workers_had_under_way_counts_no_more(
    gateway: GatewayProcess, origin: HeldOrigin
) -> None:
    with held(gateway, origin), held(gateway, origin):
        assert status(gateway) == 429
        for pid in gateway.worker_pids:
            os.kill(pid, signal.SIGKILL)
        gateway.wait_for(lambda: gateway.log.count("runs again") == WORKERS, "new workers")
        assert [status(gateway) for _ in range(20)] == [200] * 20
