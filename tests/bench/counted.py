"""The workloads that ``make bench-guard`` counts; ``python -m tests.bench.counted`` runs them.

Each makes so many exchanges in one process. All but the bare proxy's are in memory, where what
would go to an instance is answered by a function.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from gatewayd import Exchange, FilterConfig, Headers, Request, Response
from gatewayd.ended import BATCH
from gatewayd.exchange import Peer
from gatewayd.pipeline import link
from gatewayd.process.worker import set_aside_what_stays
from gatewayd.testing import in_memory, make_exchange, make_gateway
from tests.bench import filters as with_filters
from tests.bench import loopback
from tests.bench.figures import NoOp
from tests.bench.instructions import run_in_forks
from tests.bench.origins import JSON_BODY
from tests.bench.peers import gatewayd_config, observed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

LEVELS = 100
"""Filters of the chain."""

COUNTS = (17 * BATCH, 113 * BATCH)
"""Exchanges of the two runs that are compared: in none is a batch of ended exchanges half full."""

_PEER = Peer("127.0.0.1", 1)
_SENT = Headers.of_lines([(b"Host", b"bench")])
_ANSWERED = Headers.of_lines([(b"Content-Type", b"application/json"), (b"Server", b"nginx")])
_BODY = JSON_BODY.encode()


async def chain(count: int) -> None:
    """Run filters that do nothing: what this interpreter needs for a call and an await."""
    run = link([NoOp(FilterConfig(), make_gateway())] * LEVELS, _upstream)
    exchange = make_exchange()
    for _ in range(count):
        await run(exchange)


async def filters(count: int) -> None:
    """Run all filters, with a token, for all 200 routes in turn."""
    sent = _SENT.copy()
    sent.add("Authorization", with_filters.authorization())
    with tempfile.TemporaryDirectory() as folder:
        config = with_filters.CONFIG.read_text()
        for name, value in (("BENCH_SECRET", with_filters.SECRET), ("BENCH_RUN", folder)):
            config = config.replace(f"${{{name}}}", value)
        await _exchanges(config, with_filters.PATHS, sent, count)


async def proxying(count: int, *, telemetry: bool) -> None:
    """Run the filters that proxying needs, with those that observe before them or without."""
    with tempfile.TemporaryDirectory() as folder:
        config = gatewayd_config((9101, 9102, 9103), {"everything": "/"})
        if telemetry:
            config = observed(config, Path(folder))
        await _exchanges(config, ["/"], _SENT, count)


async def _exchanges(config: str, paths: Sequence[str], sent: Headers, count: int) -> None:
    """Do what the server does with a request, from when it was read to when it was answered."""
    async with in_memory(config, upstream=_upstream, clock=time.monotonic) as gateway:
        set_aside_what_stays()
        run, ended = gateway.pipeline.run, gateway.ended
        for path in islice(cycle(paths), count):
            request = Request("GET", path, None, "bench", "bench", sent.copy(), b"", _PEER)
            exchange = Exchange(request, time.monotonic())
            exchange.response = response = await run(exchange)
            _ = response.headers.encoded, request.headers.encoded
            exchange.sent = len(_BODY)
            exchange.finish()
            ended.add(exchange, None)
            if response.status != 200:
                raise RuntimeError(f"answered with {response.status}")


async def _upstream(exchange: Exchange) -> Response:
    """Answer, and note on the exchange what the upstream filter does."""
    exchange.attempts = 1
    exchange.upstream_seconds = 0.00123
    trace = exchange.trace
    if trace is not None:
        _ = trace.added
    return Response(200, _ANSWERED.copy(), _BODY)


WORKLOADS: dict[str, Callable[[int], Coroutine[Any, Any, None]]] = {
    "chain": chain,
    "filters": filters,
    "proxying": partial(proxying, telemetry=False),
    "observed": partial(proxying, telemetry=True),
    "bare": loopback.exchanges,
}
"""By the name that tells what was counted."""


def run(name: str, count: int) -> None:
    """Make so many exchanges of a workload."""
    uvloop.run(WORKLOADS[name](count))


if __name__ == "__main__":
    run_in_forks(run, WORKLOADS, *COUNTS)
