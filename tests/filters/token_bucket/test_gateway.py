"""A gateway with three workers, which keep one limit together."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import GatewayProcess, Nginx, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORKERS = 3
CONFIG = """
[server]
workers = {workers}
[pipeline]
filters = ["request_id", "route_match", "token_bucket", "balancer", "upstream"]
[filters.token_bucket]
rate = "{rate}"
records = false
[[routes]]
name = "all"
path = "/"
service = "origin"
[services.origin]
instances = [{{ url = "http://127.0.0.1:{port}" }}]
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[int]:
    folder = tmp_path / "origin"
    folder.mkdir()
    port = free_port()
    with Nginx(folder, port, f"server {{ listen {port}; location / {{ return 200; }} }}"):
        yield port


def gateway_with(rate: str, origin: int, folder: Path) -> GatewayProcess:
    return GatewayProcess(CONFIG.format(workers=WORKERS, rate=rate, port=origin), folder)


class Client:
    """Connections to a gateway, which together reach all of its workers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.statuses: Counter[int] = Counter()
        self.workers: set[bytes] = set()

    async def ask(self, times: int) -> None:
        """Send requests, each on a connection of its own."""
        for _ in range(times):
            await self._connection(lambda sent: sent < 1)

    async def hammer(self, connections: int, until: float) -> None:
        """Send requests until a time, as fast as they are answered."""
        await asyncio.gather(
            *(self._connection(lambda _: time.monotonic() < until) for _ in range(connections))
        )

    async def _connection(self, goes_on: Callable[[int], bool]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        sent = 0
        while goes_on(sent):
            writer.write(REQUEST)
            sent += 1
            await self._read(reader)
        writer.close()
        await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        await reader.readexactly(int(fields[b"content-length"]))
        self.statuses[int(head[9:12])] += 1
        self.workers.add(fields[b"x-request-id"][:16])


async def test_workers_grant_one_burst_together_also_after_reload_and_crash(
    origin: int, tmp_path: Path
) -> None:
    with gateway_with("1/day burst 30", origin, tmp_path) as gateway:
        gateway.wait_for_log("listening on")
        client = Client(gateway.port)
        await client.ask(60)
        assert client.statuses == {200: 30, 429: 30}
        assert len(client.workers) == WORKERS
        gateway.reload()
        gateway.wait_for_log("is running")
        os.kill(gateway.worker_pids[0], signal.SIGKILL)
        gateway.wait_for_log("runs again")
        again = Client(gateway.port)
        await again.ask(40)
    assert again.statuses == {429: 40}
    assert len(again.workers - client.workers) == 1


@pytest.mark.slow
async def test_workers_grant_the_rate_together(origin: int, tmp_path: Path) -> None:
    seconds, rate, burst = 10.0, 400, 100
    with gateway_with(f"{rate}/second burst {burst}", origin, tmp_path) as gateway:
        gateway.wait_for_log("listening on")
        client = Client(gateway.port)
        start = time.monotonic()
        await client.hammer(24, start + seconds)
    assert len(client.workers) == WORKERS
    assert set(client.statuses) == {200, 429}
    assert client.statuses[200] == pytest.approx(rate * seconds + burst, rel=0.005)
