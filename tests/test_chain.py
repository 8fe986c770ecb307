from __future__ import annotations

import asyncio
import gc
import json
from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import ref

import pytest

from gatewayd import (
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    GatewayError,
    Headers,
    Key,
    Reject,
    Response,
)
from gatewayd.pipeline import link
from gatewayd.testing import make_exchange, make_gateway
from tests.support.pipelines import (
    TRACE,
    Match,
    Tag,
    TagConfig,
    compiled,
    route,
    trace,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Mark:
    """Something that an exchange holds, and that can be seen to go with it."""


MARK: Key[Mark] = Key("mark")


def raising(error: BaseException) -> type[Filter[Any]]:
    """Return a filter that raises on the way in."""

    class Raising(Filter[FilterConfig]):
        name = "raising"

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            raise error

    return Raising


async def fails(error: BaseException, *before: str) -> tuple[Response, dict[str, Any]]:
    """Run an exchange through filters of which the last one raises."""
    pipeline = compiled(*before, "raising", "end", plugins=[raising(error)])
    exchange = make_exchange("GET", "/secret?token=1")
    response = await pipeline(exchange)
    assert isinstance(response.body, bytes)
    problem: dict[str, Any] = json.loads(response.body)
    assert problem["request_id"] == exchange.id
    return response, problem


async def test_a_refusal_is_answered() -> None:
    reject = Reject(429, "rate_limited", "Slow down.", [("Retry-After", "7")])
    response, problem = await fails(reject, "tag")
    assert (response.status, problem["code"]) == (429, "rate_limited")
    assert response.headers.get("Retry-After") == "7"


@pytest.mark.parametrize(
    "error",
    [ValueError("password=1"), GatewayError("password=1"), SystemExit("password=1"),
     Reject(403, "denied", "", [("X-Reason", "password=1\r\nSet-Cookie: a")]),
     Reject(403, "denied", "password=1 \ud800")],
    ids=["exception", "not a refusal", "exit", "unsendable field", "unsendable text"],
)  # fmt: skip
async def test_whatever_else_is_raised_is_our_fault_and_gives_nothing_away(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    response, problem = await fails(error)
    assert (response.status, problem["code"]) == (500, "internal_error")
    assert "password" not in json.dumps(problem)
    assert [header for header, _ in response.headers] == ["Content-Type"]
    (record,) = caplog.records
    assert problem["request_id"] in record.getMessage()
    assert "token" not in record.getMessage()
    assert record.exc_info


async def test_an_observer_sees_refusals_as_responses() -> None:
    response, _ = await fails(Reject(404, "route_not_found"), "observe", "tag")
    assert response.headers.get("X-Seen") == "404"


async def test_an_observer_sees_failures_as_responses(caplog: pytest.LogCaptureFixture) -> None:
    response, _ = await fails(ValueError(), "observe")
    assert response.headers.get("X-Seen") == "500"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("caught_by", [(), ("observe",)])
async def test_a_refused_exchange_is_freed_at_once(caught_by: tuple[str, ...]) -> None:
    class RefuseAfterAFailure(Filter[FilterConfig]):
        name = "refuse"
        terminal = True

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            try:
                raise KeyError(exchange.id)
            except KeyError as why:
                raise Reject(403, "no_entry") from why

    pipeline = compiled(*caught_by, "refuse", plugins=(RefuseAfterAFailure,))
    exchange = make_exchange()
    exchange[MARK] = mark = Mark()
    gone = ref(mark)
    gc.disable()  # it would hide that somebody holds on to what has ended
    try:
        assert (await pipeline(exchange)).status == 403
        assert exchange.refusal is not None
        del exchange, mark
        assert gone() is None
    finally:
        gc.enable()


async def test_a_cancelled_exchange_is_no_failure() -> None:
    pipeline = compiled("observe", "raising", "end", plugins=[raising(asyncio.CancelledError())])
    call = asyncio.create_task(pipeline(make_exchange()))
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()


async def test_an_exchange_that_nobody_has_cancelled_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response, _ = await fails(asyncio.CancelledError())  # of a task that the filter awaited
    assert response.status == 500
    assert caplog.records[0].exc_info


async def test_other_filters_can_catch_refusals_and_try_again() -> None:
    class Retry(Filter[FilterConfig]):
        name = "retry"

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            try:
                return await forward(exchange)
            except Reject:
                return await forward(exchange)

    class Flaky(Filter[FilterConfig]):
        name = "flaky"
        attempts = 0

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            Flaky.attempts += 1
            if Flaky.attempts == 1:
                raise Reject(503, "flaky")
            return await forward(exchange)

    pipeline = compiled("retry", "tag", "flaky", "end", plugins=[Retry, Flaky])
    assert await trace(pipeline) == ["tag", "/tag"] * 2


async def test_a_terminal_filter_that_forwards_is_a_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Endless(Tag):
        name = "endless"
        terminal = True

    response = await compiled("endless", plugins=[Endless])(make_exchange())
    assert response.status == 500
    assert "end of the pipeline" in caplog.text


async def preflight(*filters: str, **headers: str) -> tuple[Response, list[str]]:
    """Run a preflight for a route that takes GET and PUT."""

    class MatchPreflight(Match):
        name = "match_preflight"

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            exchange.preflight = True
            return await super().__call__(exchange, forward)

    one = {**route("r"), "methods": ["PUT", "GET"]}
    pipeline = compiled(
        "match_preflight", *filters, "other", "end", plugins=[MatchPreflight], routes=[one]
    )
    exchange = make_exchange("OPTIONS", "/r", headers=headers)
    return await pipeline(exchange), exchange.get(TRACE, [])


async def test_a_preflight_gets_as_far_as_the_filter_that_answers_it() -> None:
    response, left = await preflight("tag", "preflights", answer="yes")
    assert response.status == 204
    assert left == ["tag", "/tag"]


@pytest.mark.parametrize("filters", [["tag", "preflights"], ["tag"], []], ids=str)
async def test_a_preflight_that_nobody_answers_is_refused(filters: list[str]) -> None:
    response, left = await preflight(*filters)
    assert response.status == 405
    assert response.headers.get("Allow") == "GET, HEAD, PUT"
    assert "other" not in left


async def test_a_chain_can_be_linked_by_hand() -> None:
    async def end(exchange: Exchange) -> Response:
        return Response(299, Headers())

    gateway = make_gateway()
    filters = [Tag(TagConfig(text=text), gateway) for text in ("a", "b")]
    exchange = make_exchange()
    assert (await link(filters, end)(exchange)).status == 299
    assert exchange[TRACE] == ["a", "b", "/b", "/a"]


class Stamp(Filter[FilterConfig]):
    """Mark the exchange, and let ``forward`` do the rest."""

    name = "stamp"

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = [*exchange.get(TRACE, []), self.name]
        return await forward(exchange)


class OnTop(Stamp):
    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = [*exchange.get(TRACE, []), "top"]
        return await super().__call__(exchange, forward)


class Plain(Stamp):
    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        return super().__call__(exchange, forward)


class WithKeyword(Stamp):
    async def __call__(
        self, exchange: Exchange, forward: Forward, *, mark: str = "keyword"
    ) -> Response:
        exchange[TRACE] = [mark]
        return await super().__call__(exchange, forward)


class WithMore(Stamp):
    async def __call__(self, exchange: Exchange, forward: Forward, mark: str = "more") -> Response:
        exchange[TRACE] = [mark]
        return await super().__call__(exchange, forward)


class WithOwnDefault(Stamp):
    async def __call__(self, exchange: Exchange, forward: Forward | None = None) -> Response:
        assert forward is not None
        return await super().__call__(exchange, forward)


def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await call(*args, **kwargs)

    return wrapper


class Wrapped(Stamp):
    __call__ = wrapped(Stamp.__call__)


class OfTheClass(Stamp):
    @classmethod
    async def __call__(cls, exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = [cls.name]
        return await forward(exchange)


class OfNobody(Stamp):
    @staticmethod
    async def __call__(exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = ["nobody"]
        return await forward(exchange)


@pytest.mark.parametrize(
    ("plugin", "left"),
    [
        (Stamp, ["stamp"]),
        (OnTop, ["top", "stamp"]),
        (Plain, ["stamp"]),
        (WithKeyword, ["keyword", "stamp"]),
        (WithMore, ["more", "stamp"]),
        (WithOwnDefault, ["stamp"]),
        (Wrapped, ["stamp"]),
        (OfTheClass, ["stamp"]),
        (OfNobody, ["nobody"]),
    ],
)
async def test_whatever_a_filter_s_call_looks_like_it_forwards_within_its_chain(
    plugin: type[Stamp], left: list[str]
) -> None:
    """One filter stands in two chains; each goes on to its own end."""
    one = plugin(FilterConfig(), make_gateway())

    def ending(status: int) -> Forward:
        async def end(exchange: Exchange) -> Response:
            return Response(status)

        return end

    chains = {status: link([one], ending(status)) for status in (201, 202)}
    for status in (201, 202, 201):
        exchange = make_exchange()
        assert (await chains[status](exchange)).status == status
        assert exchange[TRACE] == left
    response = await one(make_exchange(), ending(203))  # which the chains have not changed
    assert response.status == 203
