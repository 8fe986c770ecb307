"""The state machine of a connection, driven by bytes without a socket: every split of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import BadResponse, Body, UpstreamReset
from gatewayd.body import StreamBody
from gatewayd.upstream.connection import BODY, CLOSED, HEAD
from tests.support.driven import CHUNKED, OK, Driven, outcome
from tests.support.upstream import Interims, make_attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayd import Headers
    from gatewayd.timers import Sweeper


def splits(data: bytes) -> Iterator[list[bytes]]:
    """Yield the data whole, in two pieces wherever it can be cut, and byte by byte."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]


CHECKSUM = [("Checksum", "1")]


@pytest.mark.parametrize(
    ("method", "data", "expected", "reusable"),
    [
        ("GET", OK + b"Content-Length: 0\r\n\r\n", (200, b"", None), True),
        ("GET", OK + b"Content-Length: 5\r\n\r\nhello", (200, b"hello", None), True),
        ("GET", CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", (200, b"hello!", None), True),
        ("GET", CHUNKED + b"0\r\n\r\n", (200, b"", None), True),
        ("GET", CHUNKED + b"1\r\na\r\n0\r\nChecksum: 1\r\n\r\n", (200, b"a", CHECKSUM), True),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", None), True),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (304, b"", None), True),
        ("HEAD", OK + b"Content-Length: 5\r\n\r\n", (200, b"", None), True),
        ("HEAD", CHUNKED, (200, b"", None), True),
        ("HEAD", OK + b"\r\n", (200, b"", None), True),
        ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", (200, b"ab", None), False),
        (
            "GET",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab",
            (200, b"ab", None),
            True,
        ),
        (
            "GET",
            OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nab",
            (200, b"ab", None),
            False,
        ),
        (
            "GET",
            OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            (200, b"a", None),
            False,
        ),
        (
            "GET",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            + OK + b"Content-Length: 2\r\n\r\nab",
            (200, b"ab", None),
            True,
        ),
        # What comes behind the end belongs to no request.
        ("GET", OK + b"Content-Length: 2\r\n\r\nabc", (200, b"ab", None), False),
        ("GET", OK + b"Content-Length: 0\r\n\r\n\r\n", (200, b"", None), False),
        ("GET", CHUNKED + b"0\r\n\r\n" + OK, (200, b"", None), False),
        ("HEAD", OK + b"Content-Length: 5\r\n\r\nhello", (200, b"", None), False),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nx", (204, b"", None), False),
    ],
)  # fmt: skip
async def test_responses_however_their_bytes_arrive(
    sweeper: Sweeper, method: str, data: bytes, expected: tuple[int, bytes, Any], reusable: bool
) -> None:
    for pieces in splits(data):
        driven = Driven(sweeper)
        response = driven.connection.send(make_attempt(method))
        for piece in pieces:
            driven.connection.data_received(piece)
        assert await outcome(response) == expected, pieces
        assert driven.reusable == reusable, pieces


@pytest.mark.parametrize("data", [OK + b"\r\nhello", b"HTTP/1.0 200 OK\r\n\r\nhello"])
async def test_a_body_without_framing_ends_with_the_connection(
    sweeper: Sweeper, data: bytes
) -> None:
    for pieces in splits(data):
        driven = Driven(sweeper)
        response = driven.connection.send(make_attempt())
        for piece in pieces:
            driven.connection.data_received(piece)
        driven.connection.eof_received()
        assert await outcome(response) == (200, b"hello", None), pieces
        assert not driven.reusable


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("GET", OK + b"Content-Length: 5\r\n\r\nhello"),
        ("GET", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"),
        ("GET", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na"),
    ],
)
async def test_a_response_that_is_cut_is_never_taken_for_a_whole_one(
    sweeper: Sweeper, method: str, data: bytes
) -> None:
    for length in range(len(data)):
        driven = Driven(sweeper)
        response = driven.connection.send(make_attempt(method))
        if length:
            driven.connection.data_received(data[:length])
        driven.connection.eof_received()
        driven.connection.connection_lost(None)
        with pytest.raises(UpstreamReset):
            await outcome(response)
        assert not driven.reusable


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), None])
async def test_a_body_without_framing_that_breaks_off_is_not_whole(
    driven: Driven, error: Exception | None
) -> None:
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + b"\r\nhel")
    driven.connection.connection_lost(error)
    with pytest.raises(UpstreamReset):
        await outcome(response)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x03\x00\x02\x02\x28\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        OK + b"A: b\r\n c\r\n\r\n",
        CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
        CHUNKED + b"x\r\n",
        CHUNKED + b"1\r\na\r\n0\r\nA : b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 17 + OK + b"Content-Length: 0\r\n\r\n",
        OK + b"A: " + b"x" * 2000 + b"\r\n\r\n",
        OK + b"A: " + b"x" * 2000,
        OK + b"A: b\r\n" * 6 + b"\r\n",
    ],
    ids=range(12),
)
async def test_what_cannot_be_forwarded(sweeper: Sweeper, data: bytes) -> None:
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        driven = Driven(sweeper, max_response_header_bytes=1024, max_response_headers=5)
        response = driven.connection.send(make_attempt())
        for piece in pieces:
            driven.connection.data_received(piece)
        with pytest.raises(BadResponse) as caught:
            await outcome(response)
        assert caught.value.sent
        assert not driven.reusable
        assert driven.transport.calls[-1] == "abort"


@pytest.mark.parametrize(("length", "status"), [(1024, 200), (1025, 0)])
async def test_a_head_may_be_as_large_as_the_limit_its_empty_line_included(
    sweeper: Sweeper, length: int, status: int
) -> None:
    driven = Driven(sweeper, max_response_header_bytes=1024)
    response = driven.connection.send(make_attempt())
    head = OK + b"Content-Length: 0\r\nA: "
    driven.connection.data_received(head.ljust(length - len(b"\r\n\r\n"), b"x") + b"\r\n\r\n")
    if status:
        assert (await response).status == status
    else:
        with pytest.raises(BadResponse, match="too large"):
            await response


@pytest.mark.parametrize("framing", [b"Content-Length: 1", b"Transfer-Encoding: chunked", b"A: b"])
async def test_a_body_is_waited_for_when_only_the_head_is_there(
    driven: Driven, framing: bytes
) -> None:
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + framing + b"\r\n\r\n")
    body = (await response).body
    assert isinstance(body, StreamBody)
    assert not body.ready  # an empty piece would be its end
    body.close()


async def test_a_bad_chunk_in_the_middle_breaks_the_body_off(driven: Driven) -> None:
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(CHUNKED + b"1\r\na\r\n")
    body = (await response).body
    assert isinstance(body, Body)
    assert await body.read() == b"a"
    driven.connection.data_received(b"zz\r\n")
    with pytest.raises(BadResponse):
        await body.read()
    assert not driven.reusable


async def test_interim_responses_are_passed_on_but_not_100(driven: Driven) -> None:
    interims = Interims()
    driven.connection.send(make_attempt(on_interim=interims))
    driven.connection.data_received(b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n")
    driven.connection.data_received(
        b"HTTP/1.1 103 E\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n"
    )
    assert interims.all == [(103, [("Link", "</a>")])]
    driven.connection.data_received(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert interims.all[1:] == [(102, [])]


async def test_interim_responses_are_counted_for_each_response(driven: Driven) -> None:
    for _ in range(3):
        response = driven.connection.send(make_attempt())
        driven.connection.data_received(b"HTTP/1.1 102 Processing\r\n\r\n" * 16)
        driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
        assert (await response).status == 200
        driven.pool._idle.clear()


@pytest.mark.parametrize("data", [b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"\r\n", b"\x00"])
async def test_bytes_that_belong_to_no_request_close_an_idle_connection(
    driven: Driven, data: bytes
) -> None:
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert (await response).status == 200
    assert driven.reusable
    driven.connection.data_received(data)
    assert not driven.reusable
    assert driven.pool._idle == []


async def test_what_filters_do_to_a_response_is_not_remembered_for_the_next_one(
    driven: Driven,
) -> None:
    for _ in range(2):
        interims: list[Headers] = []
        attempt = make_attempt(on_interim=lambda _, headers, to=interims: to.append(headers))
        response = driven.connection.send(attempt)
        driven.connection.data_received(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        driven.connection.data_received(OK + b"Content-Length: 0\r\nA: b\r\n\r\n")
        headers = (await response).headers
        assert list(headers) == [("A", "b")]
        assert list(interims[0]) == [("Link", "</a>")]
        headers.add("X-Request-Id", "mine")
        interims[0].add("X-Request-Id", "mine")
        driven.pool._idle.clear()


@pytest.mark.parametrize(
    ("method", "status", "fields", "length"),
    [
        ("HEAD", 200, b"Content-Length: 5\r\n", 5),
        ("HEAD", 200, b"Content-Length: 0\r\n", 0),
        ("HEAD", 200, b"Transfer-Encoding: chunked\r\n", None),
        ("HEAD", 200, b"", None),
        ("GET", 304, b"Content-Length: 5\r\n", 5),
    ],
)
async def test_what_is_declared_of_a_body_that_is_not_sent_is_kept(
    driven: Driven, method: str, status: int, fields: bytes, length: int | None
) -> None:
    response = driven.connection.send(make_attempt(method))
    driven.connection.data_received(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields))
    body = (await response).body
    assert (len(body) if isinstance(body, bytes) else body.length) == length


async def test_a_lost_connection_sends_nothing(driven: Driven) -> None:
    driven.transport.close()
    with pytest.raises(UpstreamReset) as caught:
        await driven.connection.send(make_attempt())
    assert not caught.value.sent
    assert driven.transport.written == b""
    assert not driven.reusable


async def test_abandoning_concerns_only_the_attempt_that_is_running(driven: Driven) -> None:
    first, second = make_attempt(), make_attempt()
    response = driven.connection.send(first)
    driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert (await response).status == 200
    driven.connection.abandon(first)
    assert driven.reusable
    driven.pool._idle.clear()
    driven.connection.send(second)
    driven.connection.abandon(first)
    assert driven.connection.state == HEAD
    driven.connection.abandon(second)
    assert driven.connection.state == CLOSED


async def test_closing_in_the_middle_tells_whoever_waits(sweeper: Sweeper) -> None:
    waiting, reading = Driven(sweeper), Driven(sweeper)
    response = waiting.connection.send(make_attempt())
    waiting.connection.close()
    waiting.connection.close()
    with pytest.raises(UpstreamReset):
        await response
    response = reading.connection.send(make_attempt())
    reading.connection.data_received(OK + b"\r\n")
    assert reading.connection.state == BODY
    reading.connection.close()
    with pytest.raises(UpstreamReset):
        await outcome(response)
    assert (waiting.pool._open, reading.pool._open) == (0, 0)


async def test_a_repr_says_where_it_is(driven: Driven) -> None:
    assert repr(driven.connection) == "<upstream connection to http://127.0.0.1:9: idle>"
