"""retry: hedges, second attempts beside a slow first one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import BreakerOpen, Response, RetryBudget, UpstreamReset
from gatewayd.testing import make_exchange, make_gateway, make_service, running
from gatewayd_filters.retry import Retry
from tests.support.retrying import INSTANCES, RESET, SERVICE_OF_THREE, Upstream, Watched, attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd import Exchange
    from gatewayd.testing.exchanges import Answer


class Slow(Upstream):
    """The first attempt waits until it is told; tells what became of it."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(*answers)
        self.may_answer = asyncio.Event()
        self.cancelled = 0
        self.late = Watched()

    async def __call__(self, exchange: Exchange) -> Response:
        if exchange.tried:
            return await super().__call__(exchange)
        exchange.instance = INSTANCES[0]
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Response(202, body=self.late)


HEDGE = {"hedge": {"after": 0.001}}


async def test_a_slow_first_attempt_is_overtaken_and_cancelled() -> None:
    upstream = Slow(Response(200))
    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    async with running(Retry, HEDGE, gateway=gateway) as retry:
        exchange = make_exchange(values={"service": SERVICE_OF_THREE})
        assert (await retry(exchange, upstream)).status == 200
    assert upstream.cancelled == 1
    assert exchange.instance is INSTANCES[1]


async def test_a_hedge_passes_by_an_instance_with_an_open_breaker() -> None:
    upstream = Slow(BreakerOpen(), Response(200))
    assert (await attempt(upstream, **HEDGE)).status == 200
    assert upstream.picks == [INSTANCES[1], INSTANCES[2]]


async def test_a_hedge_does_not_go_to_the_slow_instance_when_all_others_are_shut() -> None:
    upstream = Slow(BreakerOpen())

    async def answer_after_the_hedge(exchange: Exchange) -> Response:
        try:
            return await upstream(exchange)
        except BreakerOpen:
            if len(upstream.picks) == 2:
                upstream.may_answer.set()
            raise

    assert (await attempt(answer_after_the_hedge, **HEDGE)).status == 202
    assert upstream.picks == [INSTANCES[1], INSTANCES[2]]


async def test_a_failed_hedge_waits_for_the_first_attempt() -> None:
    upstream = Slow(RESET)

    async def answer_after_the_hedge(exchange: Exchange) -> Response:
        try:
            return await upstream(exchange)
        finally:
            upstream.may_answer.set()

    assert (await attempt(answer_after_the_hedge, **HEDGE)).status == 202


@pytest.mark.parametrize(("method", "body"), [("POST", b""), ("DELETE", b""), ("GET", b"body")])
async def test_only_safe_requests_without_body_are_hedged(method: str, body: bytes) -> None:
    hedged = []
    due = asyncio.Event()

    async def upstream(exchange: Exchange) -> Response:
        exchange.instance = INSTANCES[0]
        if exchange.tried:
            hedged.append(exchange.id)
            due.set()
        await due.wait()
        return Response(200)

    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    values = {"service": SERVICE_OF_THREE}
    other = make_exchange(method, body=body, values=values)
    # It begins after the other one and has as long to wait: its hedge comes where both are due.
    safe = make_exchange(values=values)
    async with running(Retry, HEDGE, gateway=gateway) as retry:
        await asyncio.gather(retry(other, upstream), retry(safe, upstream))
    assert hedged == [safe.id]


async def test_a_hedge_needs_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Slow(Response(200))
    take = RetryBudget.take

    def take_when_due(budget: RetryBudget) -> bool:
        upstream.may_answer.set()
        return take(budget)

    monkeypatch.setattr(RetryBudget, "take", take_when_due)
    settings = {**HEDGE, "budget": 0.0, "budget_floor": 0.0}
    assert (await attempt(upstream, **settings)).status == 202
    assert upstream.picks == []


async def leave(upstream: Callable[..., Any], both: asyncio.Event) -> None:
    """Have the client go away while both attempts of a hedge are under way."""
    running_attempt = asyncio.ensure_future(attempt(upstream, **HEDGE))
    await both.wait()
    running_attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running_attempt


async def test_a_client_that_leaves_cancels_both() -> None:
    cancelled = []
    both = asyncio.Event()

    async def upstream(exchange: Exchange) -> Response:
        exchange.instance = INSTANCES[0]
        try:
            if exchange.tried:
                both.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(exchange)
            raise
        return Response(200)

    await leave(upstream, both)
    assert len(cancelled) == 2


@pytest.mark.parametrize(
    ("hedge", "status", "seconds"), [(Response(200), 200, 0.25), (RESET, 202, 3.0)]
)
async def test_a_hedge_is_an_attempt_and_the_winner_s_time_counts(
    hedge: Answer, status: int, seconds: float
) -> None:
    upstream = Slow(hedge)

    async def counting(exchange: Exchange) -> Response:
        exchange.attempts += 1
        is_hedge = bool(exchange.tried)
        try:
            return await upstream(exchange)
        except UpstreamReset:
            upstream.may_answer.set()
            raise
        finally:
            exchange.upstream_seconds = 0.25 if is_hedge else 3.0

    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    async with running(Retry, HEDGE, gateway=gateway) as retry:
        exchange = make_exchange(values={"service": SERVICE_OF_THREE})
        assert (await retry(exchange, counting)).status == status
    assert (exchange.attempts, exchange.upstream_seconds) == (2, seconds)


async def test_both_attempts_count_where_the_client_leaves() -> None:
    both = asyncio.Event()

    async def upstream(exchange: Exchange) -> Response:
        exchange.attempts += 1
        exchange.instance = INSTANCES[0]
        if exchange.tried:
            both.set()
        await asyncio.Event().wait()
        return Response(200)

    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    async with running(Retry, HEDGE, gateway=gateway) as retry:
        exchange = make_exchange(values={"service": SERVICE_OF_THREE})
        running_attempt = asyncio.ensure_future(retry(exchange, upstream))
        await both.wait()
        running_attempt.cancel()
        await asyncio.wait({running_attempt})
    assert exchange.attempts == 2


async def test_what_an_attempt_left_to_do_at_the_end_is_done_once_for_each() -> None:
    finished = []
    upstream = Slow(Response(200))

    async def noting(exchange: Exchange) -> Response:
        exchange.on_finish(lambda _, error: finished.append(type(error)))
        return await upstream(exchange)

    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    async with running(Retry, HEDGE, gateway=gateway) as retry:
        exchange = make_exchange(values={"service": SERVICE_OF_THREE})
        await retry(exchange, noting)
        assert exchange.finish() == []
    assert finished == [type(None), type(None)]


async def test_a_hedge_that_lost_is_finished_and_its_response_dropped() -> None:
    finished = []
    overtaken = Watched()
    both = asyncio.Event()
    upstream = Slow(Response(200))

    async def noting(exchange: Exchange) -> Response:
        if not exchange.tried:
            return await upstream(exchange)
        exchange.on_finish(lambda _, error: finished.append(type(error)))
        exchange.instance = INSTANCES[1]
        upstream.may_answer.set()
        try:
            await both.wait()
        except asyncio.CancelledError:
            return Response(200, body=overtaken)
        return Response(200)

    assert (await attempt(noting, **HEDGE)).status == 202
    assert finished == [asyncio.CancelledError]
    assert overtaken.closed == 1


async def test_where_both_fail_the_next_attempt_avoids_both_instances() -> None:
    hedged = asyncio.Event()
    picks = []

    async def upstream(exchange: Exchange) -> Response:
        exchange.instance = next(one for one in INSTANCES if one not in exchange.tried)
        picks.append(exchange.instance)
        if len(picks) == 3:
            return Response(200)
        if exchange.tried:
            hedged.set()
        await hedged.wait()
        raise RESET

    assert (await attempt(upstream, **HEDGE, attempts=2)).status == 200
    assert picks == list(INSTANCES)


def fail(*_: object) -> None:
    raise ValueError("a callback's fault")


@pytest.mark.parametrize("hedge", [Response(200), RESET], ids=["won", "lost"])
async def test_what_fails_at_the_end_of_a_hedge_is_told_at_the_end_of_the_exchange(
    hedge: Answer,
) -> None:
    upstream = Slow(hedge)

    async def noting(exchange: Exchange) -> Response:
        if not exchange.tried:
            return await upstream(exchange)
        exchange.on_finish(fail)
        try:
            return await upstream(exchange)
        except UpstreamReset:
            upstream.may_answer.set()
            raise

    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    async with running(Retry, HEDGE, gateway=gateway) as retry:
        exchange = make_exchange(values={"service": SERVICE_OF_THREE})
        assert (await retry(exchange, noting)).status == (202 if hedge is RESET else 200)
        (group,) = exchange.finish()
    assert isinstance(group, ExceptionGroup)
    assert [str(one) for one in group.exceptions] == ["a callback's fault"]


async def test_a_client_that_leaves_is_let_go_whatever_fails_at_the_end_of_a_hedge() -> None:
    both = asyncio.Event()

    async def upstream(exchange: Exchange) -> Response:
        exchange.instance = INSTANCES[0]
        if exchange.tried:
            exchange.on_finish(fail)
            both.set()
        await asyncio.Event().wait()
        return Response(200)

    await leave(upstream, both)


async def test_a_hedge_passes_by_so_many_open_breakers_and_no_more() -> None:
    service = make_service("api", *(f"http://10.0.1.{number}:80" for number in range(15)))
    asked = []
    enough = asyncio.Event()

    async def upstream(exchange: Exchange) -> Response:
        exchange.instance = next(one for one in service.available if one not in exchange.tried)
        if exchange.tried:
            asked.append(exchange.instance)
            if len(asked) == 10:
                enough.set()
            raise BreakerOpen
        await enough.wait()  # one more would be asked before the event loop comes back to this
        return Response(200)

    gateway = make_gateway(services={"api": service})
    async with running(Retry, HEDGE, gateway=gateway) as retry:
        exchange = make_exchange(values={"service": service})
        assert (await retry(exchange, upstream)).status == 200
    assert len(asked) == 10


async def test_both_failing_counts_as_one_attempt_that_is_retried() -> None:
    upstream = Upstream(RESET, Response(200))
    assert (await attempt(upstream, **HEDGE, attempts=2)).status == 200
    assert upstream.picks == [INSTANCES[0], INSTANCES[1]]


@pytest.mark.parametrize(("status", "wait"), [(200, 0.010), (404, 0.010), (503, 5.0)])
async def test_a_percentile_learns_from_good_answers(status: int, wait: float) -> None:
    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    clock: Any = gateway.clock

    async def upstream(exchange: Exchange) -> Response:
        clock.advance(0.010)
        return Response(status)

    settings = {"hedge": {"after": 5.0, "percentile": 95}, "attempts": 1}
    async with running(Retry, settings, gateway=gateway) as retry:
        for _ in range(100):
            await retry(make_exchange(values={"service": SERVICE_OF_THREE}), upstream)
        assert retry._latencies["api"].wait == pytest.approx(wait)
