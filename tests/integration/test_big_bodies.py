"""Bodies of any size pass with the memory of a few reads, also where their readers are slow."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.integration.configuration import config_for
from tests.integration.flow import SLOW_RATE, Flow, FlowOrigin, download, upload
from tests.support.proc import peak_resident_bytes, resident_bytes
from tests.support.raw import Wire, raw_origin
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEGABYTE = 1 << 20
WORKER_MEMORY = 32 * MEGABYTE
"""What the worker may need beyond what it has after its start."""

ON_THE_WAY = 32 * MEGABYTE
"""What may be between the ends: the kernel's buffers of four sockets, and little else."""


class Worker:
    """The only worker of a gateway."""

    def __init__(self, gateway: GatewayProcess) -> None:
        (self._pid,) = gateway.worker_pids
        self._before = resident_bytes(self._pid)

    @property
    def growth(self) -> int:
        """Bytes by which its memory has grown at most."""
        return peak_resident_bytes(self._pid) - self._before


@pytest.mark.parametrize("transfer", [download, upload])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("megabytes", "slow_seconds"),
    [
        pytest.param(128, 1, id="128 MB, slow at first"),
        pytest.param(1024, 0, id="1 GB", marks=pytest.mark.slow),
        pytest.param(1024, 10, id="1 GB, slow at first", marks=pytest.mark.slow),
    ],
)
def test_a_big_body_passes(
    tmp_path: Path,
    transfer: Callable[[int, Flow], None],
    chunked: bool,
    megabytes: int,
    slow_seconds: int,
) -> None:
    flow = Flow(megabytes * MEGABYTE, chunked=chunked, slow_bytes=slow_seconds * SLOW_RATE)
    with (
        FlowOrigin(flow) as origin,
        GatewayProcess(config_for(origin.server_port), tmp_path) as gateway,
    ):
        worker = Worker(gateway)
        transfer(gateway.port, flow)
        assert flow.intact
        assert flow.ahead < ON_THE_WAY
        assert worker.growth < WORKER_MEMORY


async def test_thirty_readers_that_wait_for_each_other_share_that_memory(tmp_path: Path) -> None:
    """Each response is more than the kernel takes; 29 of them stand still in the gateway."""
    body = bytes(24 * MEGABYTE)
    async with raw_origin() as origin, AsyncExitStack() as connections:
        gateway = connections.enter_context(GatewayProcess(config_for(origin.port), tmp_path))
        worker = Worker(gateway)
        clients = [await Wire.connect(gateway.port) for _ in range(30)]
        for client in clients:
            connections.callback(client.close)
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            at_origin = await origin.accept()
            at_origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for client in clients:
            answer = await client.read_answer()
            assert len(answer.body) == len(body)
        assert worker.growth < WORKER_MEMORY
