"""retry: the body of a request that is sent again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import Body, Headers, IterBody, Response, UpstreamReset
from gatewayd.testing import make_exchange, make_gateway, read_body, running
from gatewayd_filters.retry import Retry
from tests.support.retrying import (
    GONE,
    QUICK,
    RESET,
    SERVICE_OF_THREE,
    Upstream,
    Watched,
    attempt,
    stream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gatewayd import Exchange


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
