"""A connection that streams a body, and has to wait for the other side of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gatewayd import Body, IterBody, Reject
from gatewayd.body import HIGH_WATER
from gatewayd.testing import read_body
from tests.support.driven import CHUNKED, OK, Driven, outcome, uploading
from tests.support.raw import until
from tests.support.upstream import make_attempt, stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def test_head_and_body_of_a_request_are_one_write(driven: Driven) -> None:
    attempt = make_attempt("POST", body=b"hello")
    driven.connection.send(attempt)
    assert driven.transport.written == attempt.head + b"hello"


@pytest.mark.parametrize(
    ("length", "expected"),
    [(5, b"hello"), (None, b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")],
)
async def test_a_streamed_request_is_framed_as_its_head_says(
    driven: Driven, length: int | None, expected: bytes
) -> None:
    body = stream(b"hel", length=length, ended=False)
    attempt = make_attempt("POST", body=body)
    response = driven.connection.send(attempt)
    await until(lambda: not body.ready)
    body.feed(b"lo")
    body.feed_end()
    await until(lambda: driven.transport.written == attempt.head + expected)
    await until(lambda: not uploading(driven.connection))
    driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert (await response).status == 200
    assert driven.reusable


async def test_an_early_answer_ends_the_connection_and_stops_the_request(driven: Driven) -> None:
    body = stream(b"hel", ended=False)
    response = driven.connection.send(make_attempt("POST", body=body))
    driven.connection.data_received(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    assert await outcome(response) == (413, b"no", None)
    assert not driven.reusable


async def test_an_early_answer_can_be_read_while_the_request_goes_on(driven: Driven) -> None:
    body = stream(ended=False)
    response = driven.connection.send(make_attempt("POST", body=body))
    driven.connection.data_received(CHUNKED + b"1\r\na\r\n")
    answer = (await response).body
    assert isinstance(answer, Body)
    assert await answer.read() == b"a"
    body.feed(b"more")
    await until(lambda: b"4\r\nmore\r\n" in driven.transport.written)
    body.feed_end()
    await until(lambda: driven.transport.written.endswith(b"0\r\n\r\n"))
    driven.connection.data_received(b"1\r\nb\r\n0\r\n\r\n")
    assert await answer.read() == b"b"
    assert await answer.read() == b""
    assert driven.reusable


async def test_a_request_body_that_fails_ends_the_attempt_with_its_error(driven: Driven) -> None:
    body = stream(b"hel", ended=False)
    response = driven.connection.send(make_attempt("POST", body=body))
    await until(lambda: not body.ready)
    body.fail(Reject(408, "request_timeout"))
    with pytest.raises(Reject) as caught:
        await response
    assert caught.value.code == "request_timeout"
    assert not driven.reusable
    assert driven.transport.calls == ["abort"]


@pytest.mark.parametrize(
    ("pieces", "sent", "cause"),
    [
        ([b"hel", b"lo", b"GET /"], b"hello", "longer"),
        ([b"hel", b"loGET /"], b"hel", "longer"),
        ([b"hel"], b"hel", "shorter"),
        ([], b"", "shorter"),
    ],
)
async def test_a_request_body_that_is_not_as_long_as_declared_is_not_sent_as_if_it_were(
    driven: Driven, pieces: list[bytes], sent: bytes, cause: str
) -> None:
    async def generate() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            yield piece

    attempt = make_attempt("PUT", body=IterBody(generate(), length=5))
    with pytest.raises(ValueError, match=f"the request's body is {cause} than declared"):
        await driven.connection.send(attempt)
    assert driven.transport.written == attempt.head + sent
    assert driven.transport.calls == ["abort"]
    assert not driven.reusable


async def test_a_slow_instance_holds_the_request_s_body(driven: Driven) -> None:
    body = stream(ended=False)
    driven.connection.send(make_attempt("POST", body=body))
    driven.connection.pause_writing()
    body.feed(b"a")
    await until(lambda: b"1\r\na\r\n" in driven.transport.written)
    body.feed(b"b")
    for _ in range(10):
        await asyncio.sleep(0)
    assert b"1\r\nb\r\n" not in driven.transport.written
    driven.connection.resume_writing()
    await until(lambda: b"1\r\nb\r\n" in driven.transport.written)
    driven.connection.close()


async def test_a_slow_reader_stops_the_instance(driven: Driven) -> None:
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + b"Content-Length: 1000000\r\n\r\n")
    body = (await response).body
    assert isinstance(body, Body)
    driven.connection.data_received(b"x" * HIGH_WATER)
    assert driven.transport.calls == []
    driven.connection.data_received(b"x")
    assert driven.transport.calls == ["pause"]
    assert len(await body.read()) == HIGH_WATER + 1
    assert driven.transport.calls == ["pause", "resume"]


async def test_a_connection_whose_last_body_is_unread_reads_again(driven: Driven) -> None:
    size = HIGH_WATER + 1
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + b"Content-Length: %d\r\n\r\n" % size)
    message = await response
    driven.connection.data_received(b"x" * size)
    assert driven.reusable
    assert driven.transport.calls == ["pause", "resume"]
    again = driven.connection.send(make_attempt())
    assert len(await read_body(message)) == size
    assert driven.transport.calls == ["pause", "resume"]
    driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert (await again).status == 200


@pytest.mark.parametrize("then", ["reads on", "leaves"])
async def test_a_slow_reader_does_not_let_the_response_go_on_that_comes_after_its_own(
    driven: Driven, then: str
) -> None:
    size = HIGH_WATER + 1
    head = OK + b"Content-Length: %d\r\n\r\n" % size
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(head)
    first = await response
    driven.connection.data_received(b"x" * size)
    driven.pool._idle.clear()
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + b"Content-Length: 1000000\r\n\r\n" + b"y" * size)
    second = await response
    assert driven.transport.calls == ["pause", "resume", "pause"]
    if then == "reads on":
        assert await read_body(first) == b"x" * size
    await first.discard()
    assert driven.transport.calls == ["pause", "resume", "pause"]
    await second.discard()


async def test_an_abandoned_body_closes_its_connection(driven: Driven) -> None:
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + b"Content-Length: 5\r\n\r\nhe")
    await (await response).discard()
    assert not driven.reusable
    assert driven.transport.calls == ["abort"]
