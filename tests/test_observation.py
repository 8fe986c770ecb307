"""What is noted of filters, and whose time is whose."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import (
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    Headers,
    Observation,
    Reject,
    Response,
)
from gatewayd.observation import MAX_VISITS, observed
from gatewayd.testing import FakeClock, make_exchange, make_gateway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd import Visit


class Acting(Filter[FilterConfig]):
    """Does what the test says."""

    name = "acting"

    def __init__(self, act: Callable[[Exchange, Forward], Awaitable[Response]]) -> None:
        super().__init__(FilterConfig(), make_gateway())
        self.act = act

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        return self.act(exchange, forward)


async def answer(_: Exchange) -> Response:
    return Response(204)


async def visits_of(
    *acts: Callable[[Exchange, Forward], Awaitable[Response]],
    clock: FakeClock | None = None,
    detailed: bool = False,
) -> list[Visit]:
    """Run filters that act so; returns what was noted, whatever came of it."""
    forward: Forward = answer
    for position, act in reversed(list(enumerate(acts))):
        forward = observed(Acting(act), position, forward)
    exchange = make_exchange(headers={"A": "1", "B": "2"})
    observation = Observation(clock or FakeClock(), detailed=detailed)
    exchange.observation = observation
    with suppress(Reject, ValueError):
        await forward(exchange)
    return observation.visits


async def forwards(exchange: Exchange, forward: Forward) -> Response:
    return await forward(exchange)


def forwards_plainly(exchange: Exchange, forward: Forward) -> Awaitable[Response]:
    return forward(exchange)


async def answers(exchange: Exchange, forward: Forward) -> Response:
    return Response(200)


async def refuses(exchange: Exchange, forward: Forward) -> Response:
    raise Reject(403, "no", "Because.")


def refuses_plainly(exchange: Exchange, forward: Forward) -> Awaitable[Response]:
    raise Reject(403, "no", "Because.")


async def fails(exchange: Exchange, forward: Forward) -> Response:
    raise ValueError("broken")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (forwards, ("forwarded", 204, None, "")),
        (forwards_plainly, ("forwarded", 204, None, "")),
        (answers, ("answered", 200, None, "")),
        (refuses, ("refused", 403, "no", "Because.")),
        (refuses_plainly, ("refused", 403, "no", "Because.")),
        (fails, ("failed", None, None, "ValueError")),
    ],
)
async def test_decisions(act: Any, expected: tuple[Any, ...]) -> None:
    (visit,) = await visits_of(act)
    assert (visit.decision, visit.status, visit.code, visit.reason) == expected


async def test_a_filter_that_returns_no_response_is_named() -> None:
    async def forgets(exchange: Exchange, forward: Forward) -> Any:
        await forward(exchange)

    with pytest.raises(TypeError, match="filter 'acting' returned None, which is no Response"):
        await visits_of(forwards, forgets)


async def test_a_refusal_is_of_the_filter_that_made_it() -> None:
    outer, inner = await visits_of(forwards, refuses)
    assert (outer.decision, outer.code, outer.reason) == ("forwarded", "no", "")
    assert (inner.decision, inner.code, inner.reason) == ("refused", "no", "Because.")


async def test_times_are_without_those_of_the_filters_behind() -> None:
    clock = FakeClock()

    async def outer(exchange: Exchange, forward: Forward) -> Response:
        clock.advance(1)
        response = await forward(exchange)
        clock.advance(2)
        return response

    async def inner(exchange: Exchange, forward: Forward) -> Response:
        clock.advance(10)
        await waiting(20)
        clock.advance(40)
        return await forward(exchange)

    async def waiting(seconds: float) -> None:
        asyncio.get_running_loop().call_soon(clock.advance, seconds)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    first, second = await visits_of(outer, inner, clock=clock)
    assert (first.loop_seconds, first.wait_seconds) == (3, 0)
    assert (second.loop_seconds, second.wait_seconds) == (50, 20)
    assert (first.longest_step, second.longest_step) == (2, 40)


async def test_time_before_there_is_anything_to_await_counts() -> None:
    clock = FakeClock()

    def slow(exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        clock.advance(5)
        return forward(exchange)

    (visit,) = await visits_of(slow, clock=clock)
    assert visit.loop_seconds == 5


async def test_each_attempt_is_a_visit_of_its_own() -> None:
    async def twice(exchange: Exchange, forward: Forward) -> Response:
        await forward(exchange)
        return await forward(exchange)

    outer, *inner = await visits_of(twice, answers)
    assert outer.forwards == 2
    assert [visit.decision for visit in inner] == ["answered", "answered"]


async def test_visits_are_bounded() -> None:
    async def again_and_again(exchange: Exchange, forward: Forward) -> Response:
        for _ in range(MAX_VISITS + 10):
            response = await forward(exchange)
        assert exchange.observation.unrecorded == 11
        return response

    assert len(await visits_of(again_and_again, answers)) == MAX_VISITS


async def test_a_cancelled_exchange_is_noted_and_stays_cancelled() -> None:
    entered = asyncio.Event()

    async def waits(exchange: Exchange, forward: Forward) -> Response:
        entered.set()
        await asyncio.Event().wait()
        return await forward(exchange)

    exchange = make_exchange()
    observation = exchange.observation = Observation(FakeClock())
    call = asyncio.ensure_future(observed(Acting(waits), 0, answer)(exchange))
    await entered.wait()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert observation.visits[0].decision == "cancelled"


async def change(exchange: Exchange, forward: Forward) -> Response:
    exchange.request.headers.set("A", "other")
    exchange.request.headers.remove("B")
    exchange.request.headers.add("C", "new")
    response = await forward(exchange)
    response.headers.set("X-Out", "1")
    return response


async def test_changes_of_header_fields_are_told_by_name() -> None:
    outer, inner = await visits_of(change, forwards, detailed=True)
    assert outer.request_changes == ["+c", "-b", "~a"]
    assert outer.response_changes == ["+x-out"]
    assert (inner.request_changes, inner.response_changes) == ([], [])


async def test_they_are_not_looked_at_unless_asked_for() -> None:
    (visit,) = await visits_of(change)
    assert (visit.request_changes, visit.response_changes) == ([], [])


async def test_details_survive_a_refusal() -> None:
    async def changes_and_refuses(exchange: Exchange, forward: Forward) -> Response:
        exchange.request.headers = Headers()
        raise Reject(400, "no", "")

    (visit,) = await visits_of(changes_and_refuses, detailed=True)
    assert (visit.decision, visit.request_changes) == ("refused", [])
