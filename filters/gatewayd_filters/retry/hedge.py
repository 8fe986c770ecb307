"""A second attempt while the first one is slow (Dean and Barroso, "The Tail at Scale", 2013).

Both run at the same time, so the second gets an exchange of its own: what balancer and breaker note
on it must not mix. If it wins, that is poured into the client's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from gatewayd import BreakerOpen, Exchange, Response
from gatewayd_filters.retry.picks import MOST_PASSED_BY, avoid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gatewayd import Forward, RetryBudget
    from gatewayd_filters.retry.config import HedgeConfig

_REMEMBERED = 1000  # answers that the percentile is taken from
_ENOUGH = 100  # answers before it is used, and between two computations: sorting costs 50 us


class Latencies:
    """How long a service's answers took, and what a share of them stays below."""

    def __init__(self, config: HedgeConfig) -> None:
        self._percentile = config.percentile
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._new = 0
        self.wait = config.after
        """Seconds after which a second attempt is due."""

    def add(self, seconds: float) -> None:
        """Take note of how long one answer took."""
        if self._percentile is None:
            return
        self._seconds.append(seconds)
        self._new += 1
        if self._new >= _ENOUGH:
            self._new = 0
            ordered = sorted(self._seconds)
            self.wait = ordered[int(len(ordered) * self._percentile / 100)]


async def hedged(
    exchange: Exchange,
    forward: Forward,
    *,
    latencies: Latencies,
    budget: RetryBudget,
    statuses: Collection[int],
    clock: Callable[[], float],
) -> Response:
    """Forward the exchange, and once more if that takes long; returns the first good response.

    Args:
        exchange: The exchange; its request has no streamed body.
        forward: Runs the rest of the pipeline.
        latencies: Says how long is long, and learns from this answer.
        budget: Pays for the second attempt.
        statuses: Responses that are no good; the other attempt is waited for then.
        clock: The gateway's clock.

    Raises:
        Exception: what the first attempt failed with, where the second did not help.

    """
    started = clock()
    first = asyncio.ensure_future(forward(exchange))
    try:
        await asyncio.wait({first}, timeout=latencies.wait)
        if first.done() or not budget.take():
            response = await first
        else:
            response = await _race(exchange, first, forward, statuses)
    except asyncio.CancelledError:
        await _drop(first)
        raise
    if response.status not in statuses:  # an instance that fails at once would have all hedged
        latencies.add(clock() - started)
    return response


async def _race(
    exchange: Exchange,
    first: asyncio.Future[Response],
    forward: Forward,
    statuses: Collection[int],
) -> Response:
    """Start the second attempt, and take the better of both."""
    twin = _twin(exchange)
    second = asyncio.ensure_future(_to_a_fresh_one(twin, forward))
    try:
        winner = await _first_good([first, second], statuses)
        await _drop(second if winner is first else first)
    except asyncio.CancelledError:
        await _drop(second)
        _finish_loser(exchange, twin)
        raise
    finally:
        exchange.attempts += twin.attempts
    if winner is second:
        exchange.take_over(twin)
        exchange.upstream_seconds = twin.upstream_seconds
        exchange.on_finish(lambda _, error: _tell(twin.finish(error)))
    else:
        _finish_loser(exchange, twin)
        avoid(exchange, twin.instance)
    return winner.result()


def _twin(exchange: Exchange) -> Exchange:
    """Make the exchange of the second attempt, which avoids the instance of the first."""
    twin = Exchange(exchange.request, exchange.received_at, exchange.id, exchange.send_interim)
    twin.take_over(exchange)
    twin.deadline = exchange.deadline
    avoid(twin, exchange.instance)
    return twin


async def _to_a_fresh_one(twin: Exchange, forward: Forward) -> Response:
    """Forward the second attempt, past instances with an open breaker.

    Only while there are others: the one that the first attempt waits for is not asked twice.

    Raises:
        BreakerOpen: there was none.

    """
    while True:
        try:
            return await forward(twin)
        except BreakerOpen:
            avoid(twin, twin.instance)
            tried, service = twin.tried, twin.service
            if service is None or len(tried) > MOST_PASSED_BY:
                raise
            if all(one in tried for one in service.available):
                raise


async def _first_good(
    tries: list[asyncio.Future[Response]], statuses: Collection[int]
) -> asyncio.Future[Response]:
    """Wait for the first good response; where none comes, return the attempt that began first."""
    waiting = set(tries)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            if one.exception() is None and one.result().status not in statuses:
                return one
    return tries[0]


async def _drop(attempt: asyncio.Future[Response]) -> None:
    """Cancel an attempt, or drop the response that it has already got."""
    attempt.cancel()
    outcome = (await asyncio.gather(attempt, return_exceptions=True))[0]
    if isinstance(outcome, Response):
        await outcome.discard()


def _finish_loser(exchange: Exchange, twin: Exchange) -> None:
    """End an attempt that nobody waits for; what fails then is told at the end of the exchange.

    Here it would take the place of a good response, or of the news that the client has left.
    """
    failures = twin.finish(asyncio.CancelledError())
    if failures:
        exchange.on_finish(lambda _, __: _tell(failures))


def _tell(failures: list[Exception]) -> None:
    if failures:
        raise ExceptionGroup("callbacks of on_finish failed", failures)
