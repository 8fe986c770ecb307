from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import (
    BadResponse,
    Body,
    BreakerOpen,
    ConnectFailure,
    Headers,
    IterBody,
    NoInstance,
    PoolExhausted,
    Reject,
    Response,
    UpstreamReset,
    UpstreamTimeout,
)
from gatewayd.testing import (
    Recorder,
    contract,
    make_exchange,
    make_gateway,
    make_service,
    read_body,
    running,
)
from gatewayd_filters.retry import Retry, RetryConfig, _retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from gatewayd import Exchange, Instance
    from gatewayd.testing.exchanges import Answer

QUICK: dict[str, Any] = {"backoff": {"base": 1e-6, "max": 1e-6}}
ORIGINS = [f"http://10.0.0.{number}:80" for number in (1, 2, 3)]
SERVICE_OF_THREE = make_service("api", *ORIGINS)
INSTANCES = SERVICE_OF_THREE.available
GONE = ConnectFailure("refused", sent=False)
RESET = UpstreamReset("reset", sent=True)


class Upstream(Recorder):
    """Picks as ``balancer`` does, an instance not yet tried, then answers as it was told to."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(*answers)
        self.picks: list[Instance] = []

    async def __call__(self, exchange: Exchange) -> Response:
        tried = exchange.tried
        fresh = [one for one in INSTANCES if one not in tried]
        exchange.instance = (fresh or INSTANCES)[0]
        self.picks.append(exchange.instance)
        return await super().__call__(exchange)


async def attempt(
    upstream: Callable[..., Any],
    method: str = "GET",
    body: bytes | Body = b"",
    *,
    deadline: float | None = None,
    **settings: Any,
) -> Response:
    """Send one request through the filter."""
    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    async with running(Retry, {**QUICK, **settings}, gateway=gateway) as retry:
        exchange = make_exchange(method, body=body, values={"service": SERVICE_OF_THREE})
        exchange.deadline = deadline
        return await retry(exchange, upstream)


async def outcome(upstream: Callable[..., Any], *request: Any, **settings: Any) -> object:
    """Send one request through the filter; return the response, or the refusal that was raised."""
    try:
        return await attempt(upstream, *request, **settings)
    except Reject as refusal:
        return refusal


async def stream(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


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


class Watched(Body):
    """A response body that tells whether it was given up."""

    closed = 0

    async def read(self) -> bytes:
        return b""

    async def aclose(self) -> None:
        self.closed += 1


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
    doors, well = INSTANCES[:2], INSTANCES[2]
    answers = iter([RESET, RESET, Response(200)])
    picks = []

    async def upstream(exchange: Exchange) -> Response:
        # As one that keeps clients to their instance: of equals it takes the same one every time.
        fresh = [one for one in (well, *doors) if one not in exchange.tried]
        exchange.instance = (fresh or doors)[0]
        picks.append(exchange.instance)
        if exchange.instance in doors:
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


async def test_a_streamed_body_is_replayed() -> None:
    upstream = Upstream(RESET, RESET, Response(200))
    await attempt(upstream, "PUT", IterBody(stream(b"one", b"two")))
    assert upstream.bodies == [b"onetwo"] * 3


async def test_a_body_beyond_the_replay_buffer_is_streamed_and_not_repeated() -> None:
    upstream = Upstream(RESET, Response(200))
    with pytest.raises(UpstreamReset):
        await attempt(upstream, "PUT", IterBody(stream(b"12345", b"678")), replay_bytes=7)
    assert upstream.bodies == [b"12345678"]


async def test_a_body_that_fits_exactly_is_replayed() -> None:
    upstream = Upstream(RESET, Response(200))
    await attempt(upstream, "PUT", IterBody(stream(b"12345", b"678")), replay_bytes=8)
    assert upstream.bodies == [b"12345678"] * 2


async def test_a_body_that_was_not_begun_is_sent_to_another_instance_however_large() -> None:
    calls = 0
    bodies = []

    async def upstream(exchange: Exchange) -> Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise GONE
        bodies.append(await read_body(exchange.request))
        return Response(200)

    await attempt(upstream, "POST", IterBody(stream(b"large")), replay_bytes=0)
    assert bodies == [b"large"]


async def test_a_body_goes_on_where_a_failed_attempt_left_it() -> None:
    pieces = []

    async def upstream(exchange: Exchange) -> Response:
        body = exchange.request.body
        assert isinstance(body, Body)
        pieces.append(await body.read())
        if len(pieces) == 1:
            raise RESET
        pieces.append(await body.read())
        pieces.append(await body.read())
        return Response(200)

    await attempt(upstream, "PUT", IterBody(stream(b"one", b"two")))
    assert pieces == [b"one", b"one", b"two", b""]


async def test_the_reader_of_a_failed_attempt_takes_nothing_from_the_next() -> None:
    may_end = asyncio.Event()
    readers = []

    async def slow() -> AsyncGenerator[bytes, None]:
        await may_end.wait()
        yield b"all"

    async def upstream(exchange: Exchange) -> Response:
        body = exchange.request.body
        assert isinstance(body, Body)
        readers.append(asyncio.ensure_future(body.read()))
        if len(readers) == 1:
            await asyncio.sleep(0)  # it has begun to read
            raise RESET
        may_end.set()
        assert await readers[-1] == b"all"
        return Response(200)

    await attempt(upstream, "PUT", IterBody(slow()))
    assert await readers[0] == b"all"


class OneThenMore:
    """A body whose second piece is still to come when the first attempt breaks off.

    That attempt's reader is cancelled, as ``upstream`` does it; the next attempt reads all.
    """

    def __init__(self) -> None:
        self.attempts = 0
        self.may_end = asyncio.Event()
        self.ended = asyncio.Event()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            await self.may_end.wait()
            yield b"two"
        finally:
            self.ended.set()

    async def upstream(self, exchange: Exchange) -> Response:
        self.attempts += 1
        if self.attempts == 1:
            body = exchange.request.body
            assert isinstance(body, Body)
            assert await body.read() == b"one"
            reader = asyncio.ensure_future(body.read())
            await asyncio.sleep(0)  # it has begun
            await asyncio.sleep(0)  # and so has what it waits for
            reader.cancel()
            await asyncio.wait({reader})
            raise RESET
        self.may_end.set()
        return Response(200, body=await read_body(exchange.request))


async def test_a_reader_that_is_cancelled_does_not_cut_the_body_of_the_next_attempt() -> None:
    source = OneThenMore()
    response = await attempt(source.upstream, "PUT", IterBody(source.pieces()))
    assert response.body == b"onetwo"


async def test_a_read_that_nobody_takes_over_is_stopped_with_the_exchange() -> None:
    source = OneThenMore()
    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    async with running(Retry, {**QUICK, "attempts": 1}, gateway=gateway) as retry:
        values: dict[Any, Any] = {"service": SERVICE_OF_THREE}
        exchange = make_exchange("PUT", body=IterBody(source.pieces()), values=values)
        with pytest.raises(UpstreamReset):
            await retry(exchange, source.upstream)
        assert not source.ended.is_set()
        assert exchange.finish() == []
        await source.ended.wait()


async def test_closing_the_body_stops_the_read_under_way() -> None:
    source = OneThenMore()

    async def upstream(exchange: Exchange) -> Response:
        if source.attempts == 0:
            return await source.upstream(exchange)
        assert isinstance(exchange.request.body, Body)
        await exchange.request.body.aclose()
        return Response(200)

    await attempt(upstream, "PUT", IterBody(source.pieces()))
    assert source.ended.is_set()


async def test_trailers_are_replayed() -> None:
    class Trailing(Watched):
        async def read(self) -> bytes:
            self.trailers = Headers.of([("X-Sum", "1")])
            return b""

    seen = []

    async def upstream(exchange: Exchange) -> Response:
        body = exchange.request.body
        assert isinstance(body, Body)
        await body.read()
        seen.append(body.trailers and body.trailers.get("X-Sum"))
        if len(seen) == 1:
            raise RESET
        return Response(200)

    await attempt(upstream, "PUT", Trailing())
    assert seen == ["1", "1"]


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
    upstream = Slow(Response(200))
    running_attempt = asyncio.ensure_future(attempt(upstream, method, body, **HEDGE))
    await asyncio.sleep(0.02)  # a hedge would be due
    upstream.may_answer.set()
    assert (await running_attempt).status == 202


async def test_a_hedge_needs_budget() -> None:
    upstream = Slow(Response(200))
    settings = {**HEDGE, "budget": 0.0, "budget_floor": 0.0}
    running_attempt = asyncio.ensure_future(attempt(upstream, **settings))
    await asyncio.sleep(0.02)
    upstream.may_answer.set()
    assert (await running_attempt).status == 202
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

    async def upstream(exchange: Exchange) -> Response:
        exchange.instance = next(one for one in service.available if one not in exchange.tried)
        if exchange.tried:
            asked.append(exchange.instance)
            raise BreakerOpen
        while len(asked) < 10:  # noqa: ASYNC110  # the hedge gives up at no moment of its own
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
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
