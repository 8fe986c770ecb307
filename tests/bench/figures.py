"""Figures of gatewayd alone: memory, and what one more filter costs."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd import Exchange, Filter, FilterConfig, Forward, Response
from gatewayd.pipeline import link
from gatewayd.testing import make_exchange, make_gateway
from tests.bench.origins import json_origin
from tests.bench.peers import gatewayd_config
from tests.bench.report import Row, verdict
from tests.support.process import free_port
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from tests.bench.cpu import Cores

_CALLS, _ROUNDS, _FILTERS = 20_000, 15, 20
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


class NoOp(Filter[FilterConfig]):
    """Forwards."""

    name = "no_op"

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return await forward(exchange)


def measure(folder: Path, cores: Cores, *, quick: bool) -> list[Row]:
    """Return the rows for the table of goals.

    Args:
        folder: Existing folder.
        cores: Who runs where.
        quick: Open a tenth of the connections.
    """
    cost = asyncio.run(_filter_cost())
    own = folder / "figures"
    own.mkdir()
    idle, connection = _memory(own, cores, 1_000 if quick else 10_000)
    return [
        ("one more filter that does nothing, us", "0.50", f"{cost:.2f}", verdict(cost, 0.5)),
        ("memory of an idle worker, MB", "60", f"{idle:.1f}", verdict(idle, 60)),
        ("memory of an idle connection, KB", "12", f"{connection:.1f}", verdict(connection, 12)),
    ]


async def _filter_cost() -> float:
    """Return the microseconds of a level, from chains with and without, in turn."""
    response = Response(200)

    async def answer(_: Exchange) -> Response:
        return response

    exchange = make_exchange()
    one = NoOp(FilterConfig(), make_gateway())
    chain = link([one] * _FILTERS, answer)
    differences = []
    for _ in range(_ROUNDS):
        times = []
        for forward in (answer, chain):
            started = time.process_time()
            for _ in range(_CALLS // 10):
                await forward(exchange)
            times.append(time.process_time() - started)
        differences.append((times[1] - times[0]) / (_CALLS // 10) / _FILTERS * 1e6)
    return statistics.median(differences)


def _memory(folder: Path, cores: Cores, connections: int) -> tuple[float, float]:
    """Return the MB of an idle worker, and the KB that each idle connection adds."""
    origin = free_port()
    config = gatewayd_config([origin], {"everything": "/"})
    with json_origin(folder, [origin]), ExitStack() as stack:
        gateway = stack.enter_context(GatewayProcess(config, folder, cores=cores.proxy))
        socks = [_ask(stack, gateway.port)]
        before = _resident(gateway.pid)
        socks += [_ask(stack, gateway.port) for _ in range(connections)]
        after = _resident(gateway.pid)
    return before / 1e6, (after - before) / connections / 1e3


def _ask(stack: ExitStack, port: int) -> socket.socket:
    """Send a request on a connection that then stays open."""
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
    sock.sendall(_REQUEST)
    sock.recv(65536)
    return sock


def _resident(pid: int) -> int:
    """Return the bytes of resident memory that are the process's own."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no memory of {pid}")
