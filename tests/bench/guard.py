"""A guard against getting slower: what all filters cost, relative to Python's own speed.

``make bench-guard`` runs it, CI as well. The pipeline of ``full.toml`` runs in memory, in turns
with a chain of filters that do nothing, which is what this interpreter on this machine needs for a
call and an await. A slower machine, or another build of Python, slows both; a slower filter one.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from statistics import median
from typing import TYPE_CHECKING

from gatewayd import Exchange, FilterConfig, Headers, Request, Response
from gatewayd.exchange import Peer
from gatewayd.pipeline import link
from gatewayd.testing import in_memory, make_gateway
from tests.bench import filters as with_filters
from tests.bench.figures import NoOp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd import Forward

LIMIT = 1.35
"""Highest ratio; a quarter more than what it was when this was set."""

_LEVELS, _CALLS, _ROUNDS = 100, 400, 60
_PEER = Peer("127.0.0.1", 1)


def exchange_of(number: int, headers: Headers) -> Exchange:
    """Return an exchange as the server makes it of a request seen before."""
    path = with_filters.PATHS[number % len(with_filters.PATHS)]
    request = Request("GET", path, None, "bench", "bench", headers.copy(), b"", _PEER)
    return Exchange(request, time.monotonic())


async def ratio() -> float:
    """Return the median ratio of an exchange's cost to that of the chain."""
    answered = Headers([(b"Content-Type", b"application/json"), (b"Server", b"nginx")])
    sent = Headers([(b"Host", b"bench"), (b"Authorization", with_filters.authorization().encode())])

    async def upstream(exchange: Exchange) -> Response:
        exchange.attempts = 1
        return Response(200, answered.copy(), b"x" * 250)

    with tempfile.TemporaryDirectory() as folder:
        text = with_filters.CONFIG.read_text()
        for name, value in (("BENCH_SECRET", with_filters.SECRET), ("BENCH_RUN", folder)):
            text = text.replace(f"${{{name}}}", value)
        async with in_memory(text, upstream=upstream, clock=time.monotonic) as gateway:
            run = gateway.pipeline.run

            async def all_filters(number: int) -> None:
                exchange = exchange_of(number, sent)
                exchange.response = response = await run(exchange)
                _ = response.headers.encoded, exchange.request.headers.encoded
                exchange.finish()
                if response.status != 200:
                    raise RuntimeError(f"answered with {response.status}")

            return await _compare(all_filters, _chain(upstream), sent)


def _chain(end: Forward) -> Forward:
    one = NoOp(FilterConfig(), make_gateway())
    return link([one] * _LEVELS, end)


async def _compare(
    all_filters: Callable[[int], Awaitable[None]], chain: Forward, headers: Headers
) -> float:
    exchange = exchange_of(0, headers)
    for number in range(_CALLS):  # warm: caches, and the interpreter's own
        await all_filters(number)
        await chain(exchange)
    gc.collect()
    gc.freeze()
    ratios = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for number in range(_CALLS):
            await all_filters(number)
        between = time.process_time()
        for _ in range(_CALLS):
            await chain(exchange)
        ratios.append((between - started) / (time.process_time() - between))
    return median(ratios)


def main() -> int:
    """Print the ratio; the status is 1 where it is above the limit."""
    found = asyncio.run(ratio())
    print(f"all filters / {_LEVELS} filters that do nothing: {found:.2f}, at most {LIMIT}")
    return 0 if found <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
