"""retry: what is tried again, where, how often, and when."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import (
    BadResponse,
    BreakerOpen,
    ConnectFailure,
    Headers,
    NoInstance,
    PoolExhausted,
    Reject,
    Response,
    UpstreamReset,
    UpstreamTimeout,
)
from gatewayd.testing import Recorder, contract, make_exchange, make_gateway, make_service, running
from gatewayd_filters.retry import Retry, RetryConfig, _retry_after
from tests.support.retrying import (
    GONE,
    INSTANCES,
    ORIGINS,
    QUICK,
    RESET,
    SERVICE_OF_THREE,
    Upstream,
    Watched,
    attempt,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd import Exchange
    from gatewayd.testing.exchanges import Answer


async def outcome(upstream: Callable[..., Any], *request: Any, **settings: Any) -> object:
    """Send one request through the filter; return the response, or the refusal that was raised."""
    try:
        return await attempt(upstream, *request, **settings)
    except Reject as refusal:
        return refusal


async def test_contract() -> None:
    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    await contract(Retry, QUICK, {"service": SERVICE_OF_THREE}, gateway)
    await contract(Retry, {"hedge": {"after": 10.0}}, {"service": SERVICE_OF_THREE}, gateway)


@pytest.mark.parametrize(
    "settings",
    [
        {"on": ["600"]},
        {"on": ["200"]},
        {"on": ["sometimes"]},
        {"methods": ["get"]},
        {"attempts": 0},
        {"hedge": {"after": 1.0}, "per_try_timeout": 0.5},
        {"hedge": {"after": 0.5}, "per_try_timeout": 0.5},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        RetryConfig.model_validate(settings)


async def test_an_attempt_that_got_no_instance_leaves_none_out() -> None:
    seen: list[object] = []

    async def fail(exchange: Exchange) -> Response:
        seen.append(exchange.tried)
        raise GONE

    assert await outcome(fail) is GONE
    assert seen == [(), (), ()]


async def test_success_is_one_attempt() -> None:
    upstream = Upstream(Response(200))
    assert (await attempt(upstream)).status == 200
    assert len(upstream.picks) == 1


@pytest.mark.parametrize(
    ("on", "answer", "retried"),
    [
        ("connect_failure", GONE, True),
        ("reset", RESET, True),
        ("timeout", UpstreamTimeout("slow", sent=True), True),
        ("bad_response", BadResponse("garbage", sent=True), True),
        ("overloaded", PoolExhausted("full", sent=False), True),
        ("503", Response(503), True),
        ("5xx", Response(599), True),
        ("429", Response(429), True),
        (429, Response(429), True),
        ("4xx", Response(499), True),
        ("5xx", Response(429), False),
        ("5xx", RESET, False),
        ("reset", GONE, False),
        ("503", Response(500), False),
        ("5xx", NoInstance(), False),
        ("5xx", Reject(500, "bug"), False),
    ],
    ids=str,
)
async def test_conditions(on: str | int, answer: Answer, retried: bool) -> None:
    upstream = Upstream(answer, Response(200))
    result = await outcome(upstream, on=[on])
    if retried:
        assert isinstance(result, Response)
        assert result.status == 200
    elif isinstance(answer, Response):
        assert isinstance(result, Response)
        assert result.status == answer.status
    else:
        assert result is answer
    assert len(upstream.picks) == 1 + retried


async def test_each_attempt_goes_to_another_instance() -> None:
    upstream = Upstream(GONE, RESET, Response(200))
    await attempt(upstream)
    assert upstream.picks == list(INSTANCES)


async def test_the_last_failure_is_the_answer() -> None:
    upstream = Upstream(GONE, Response(503), RESET)
    with pytest.raises(UpstreamReset):
        await attempt(upstream)
    upstream = Upstream(GONE, RESET, Response(503, Headers.of([("X-Which", "last")])))
    assert (await attempt(upstream)).headers.get("X-Which") == "last"


async def test_a_response_that_is_not_used_is_discarded() -> None:
    dropped, kept = Watched(), Watched()
    upstream = Upstream(Response(503, body=dropped), Response(503, body=kept))
    assert (await attempt(upstream, attempts=2)).body is kept
    assert (dropped.closed, kept.closed) == (1, 0)


@pytest.mark.parametrize(
    ("method", "settings", "answer", "attempts"),
    [
        ("POST", {}, GONE, 2),  # nothing was sent
        ("POST", {}, RESET, 1),
        ("POST", {}, UpstreamTimeout("slow", sent=True), 1),
        ("POST", {}, Response(503), 1),
        ("PATCH", {}, RESET, 1),
        ("PUT", {}, RESET, 2),
        ("DELETE", {}, RESET, 2),
        ("POST", {"methods": ["POST"]}, RESET, 2),
        ("GET", {"methods": ["POST"]}, RESET, 1),
    ],
)
async def test_what_an_instance_may_have_read_is_repeated_only_if_that_is_safe(
    method: str, settings: dict[str, Any], answer: Answer, attempts: int
) -> None:
    upstream = Upstream(answer, Response(200))
    result = await outcome(upstream, method, **settings)
    assert attempts == 2 or result is answer or type(result) is type(answer)
    assert len(upstream.picks) == attempts


async def test_an_open_breaker_costs_a_pick_and_no_attempt() -> None:
    upstream = Upstream(BreakerOpen(), BreakerOpen(), Response(200))
    assert (await attempt(upstream, attempts=1)).status == 200
    assert upstream.picks == list(INSTANCES)


async def test_when_all_breakers_are_open_each_was_asked_once() -> None:
    upstream = Upstream(BreakerOpen(7))
    with pytest.raises(BreakerOpen) as caught:
        await attempt(upstream)
    assert caught.value.headers == [("Retry-After", "7")]
    assert len(upstream.picks) == len(INSTANCES) + 1  # and found that it was asked already


async def test_beside_an_open_breaker_one_that_has_failed_gets_the_attempts_that_are_left() -> None:
    shut, well = INSTANCES[:2], INSTANCES[2]
    answers = iter([RESET, RESET, Response(200)])
    picks = []

    async def upstream(exchange: Exchange) -> Response:
        # As one that keeps clients to their instance: of equals it takes the same one every time.
        fresh = [one for one in (well, *shut) if one not in exchange.tried]
        exchange.instance = (fresh or shut)[0]
        picks.append(exchange.instance)
        if exchange.instance in shut:
            raise BreakerOpen
        answer = next(answers)
        if isinstance(answer, Response):
            return answer
        raise answer

    assert (await attempt(upstream, attempts=3)).status == 200
    assert picks.count(well) == 3


async def test_an_attempt_that_opens_the_last_breaker_is_the_last() -> None:
    upstream = Upstream(BreakerOpen(), BreakerOpen(), RESET, BreakerOpen(7))
    with pytest.raises(BreakerOpen) as caught:
        await attempt(upstream, attempts=10)
    assert caught.value.headers == [("Retry-After", "7")]


async def test_a_breaker_in_front_of_the_balancer_is_asked_once() -> None:
    upstream = Recorder(BreakerOpen())
    with pytest.raises(BreakerOpen):
        await attempt(upstream)
    assert len(upstream.exchanges) == 1


async def test_open_breakers_of_a_large_service_are_not_all_asked() -> None:
    picks = 0

    async def upstream(exchange: Exchange) -> Response:
        nonlocal picks
        picks += 1
        exchange.instance = make_service("api", ORIGINS[0]).available[0]
        raise BreakerOpen

    with pytest.raises(BreakerOpen):
        await attempt(upstream)
    assert picks == 11


async def test_the_budget_bounds_the_retries_of_all_exchanges() -> None:
    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    settings = {**QUICK, "attempts": 2, "budget": 0.2, "budget_floor": 0.0}
    upstream = Upstream(RESET)
    async with running(Retry, settings, gateway=gateway) as retry:
        for _ in range(100):
            with pytest.raises(UpstreamReset):
                await retry(make_exchange(values={"service": SERVICE_OF_THREE}), upstream)
    assert len(upstream.picks) == 120


async def test_no_attempt_begins_after_the_deadline() -> None:
    upstream = Upstream(GONE)
    with pytest.raises(ConnectFailure):
        await attempt(upstream, deadline=1000.0)  # the kit's clock stands there
    assert len(upstream.picks) == 1


@pytest.mark.parametrize(
    ("value", "attempts"),
    [
        ("0", 2),
        ("2", 1),
        ("soon", 2),
        ("-1", 2),
        (formatdate(time.time() - 60, usegmt=True), 2),
        (formatdate(time.time() + 86_400, usegmt=True), 1),
        ("9" * 5000, 1),
    ],
    ids=["now", "too long", "no number", "negative", "past", "future", "huge"],
)
async def test_retry_after_is_waited_for_up_to_its_bound(value: str, attempts: int) -> None:
    upstream = Upstream(Response(503, Headers.of([("Retry-After", value)])), Response(200))
    response = await attempt(upstream, retry_after=1.0)
    assert len(upstream.picks) == attempts
    assert response.status == (200 if attempts == 2 else 503)


@pytest.mark.parametrize("form", ["%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S -0000"])
@pytest.mark.parametrize("zone", ["EAST-8", "WEST8"])
async def test_a_date_without_a_zone_is_of_greenwich(
    monkeypatch: pytest.MonkeyPatch, form: str, zone: str
) -> None:
    value = time.strftime(form, time.gmtime(time.time() + 30))
    answer = Response(503, Headers.of([("Retry-After", value)]))
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        seconds = _retry_after(answer)
    time.tzset()
    assert 0 < seconds <= 30


async def test_retry_after_is_the_least_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    upstream = Upstream(Response(503, Headers.of([("Retry-After", "3")])), Response(200))
    await attempt(upstream, retry_after=5.0)
    assert waits == [3.0]


async def test_each_attempt_is_told_how_long_it_may_take() -> None:
    upstream = Upstream(RESET, Response(200))
    await attempt(upstream, per_try_timeout=0.5)
    assert [exchange.try_timeout for exchange in upstream.exchanges] == [0.5, 0.5]
