"""The state machine of a connection, driven by bytes without a socket: every split of each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import BadResponse, Body, IterBody, Reject, Response, UpstreamReset, UpstreamTimeout
from gatewayd.body import HIGH_WATER, StreamBody
from gatewayd.testing import FakeClock, read_body
from gatewayd.timers import NEVER
from gatewayd.upstream import connection
from gatewayd.upstream.connection import BODY, CLOSED, HEAD, IDLE, UpstreamConnection
from tests.support.raw import until
from tests.support.upstream import Interims, make_attempt, make_pool, stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from gatewayd import Headers
    from gatewayd.timers import Sweeper
    from gatewayd.upstream.connection import Attempt


class Transport(asyncio.Transport):
    """Takes what is written, and notes what else is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class Driven:
    """A connection that the test drives, the only one of its pool."""

    def __init__(self, sweeper: Sweeper, **settings: Any) -> None:
        self.pool = make_pool(sweeper, "http://127.0.0.1:9", **settings)
        self.pool._open = 1
        self.connection = UpstreamConnection(self.pool, sweeper.clock)
        self.transport = Transport()
        self.connection.connection_made(self.transport)

    @property
    def reusable(self) -> bool:
        """Whether the connection went back to its pool; if not it must be closed and forgotten."""
        if self.pool._idle == [self.connection]:
            assert self.connection.state == IDLE
            assert not self.transport.is_closing()
            return True
        assert self.connection.state == CLOSED
        assert self.pool._open == 0
        return False


@pytest.fixture
async def driven(sweeper: Sweeper) -> Driven:
    return Driven(sweeper)


async def outcome(response: asyncio.Future[Response]) -> tuple[int, bytes, Any]:
    """Return status, body and trailers of a response."""
    message = await response
    body = message.body
    content = await read_body(message)
    trailers = None if isinstance(body, bytes) or body.trailers is None else list(body.trailers)
    return message.status, content, trailers


def splits(data: bytes) -> Iterator[list[bytes]]:
    """Yield the data whole, in two pieces wherever it can be cut, and byte by byte."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
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
    await until(lambda: not driven.connection._sending)
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


class Expecting:
    """An attempt with a deadline for each phase, told apart by their lengths."""

    TIMEOUTS = {"first_byte": 10.0, "between_bytes": 20.0, "write": 30.0}  # noqa: RUF012  # never changed

    @classmethod
    def attempt(cls, **settings: Any) -> Attempt:
        return make_attempt(**{"deadline": 1000.0 + 100.0, **cls.TIMEOUTS, **settings})


async def test_the_head_has_its_time_and_a_part_of_it_wins_none(
    driven: Driven, clock: FakeClock
) -> None:
    driven.connection.send(Expecting.attempt())
    assert driven.connection.expires_at == 1010.0
    clock.advance(5.0)
    driven.connection.data_received(OK)
    assert driven.connection.expires_at == 1010.0


async def test_each_piece_of_the_body_has_its_time(driven: Driven, clock: FakeClock) -> None:
    driven.connection.send(Expecting.attempt())
    driven.connection.data_received(OK + b"Content-Length: 100000\r\n\r\n")
    assert driven.connection.expires_at == 1020.0
    clock.advance(5.0)
    driven.connection.data_received(b"a")
    assert driven.connection.expires_at == 1025.0


async def test_while_the_client_is_slow_the_instance_is_not(
    driven: Driven, clock: FakeClock
) -> None:
    response = driven.connection.send(Expecting.attempt())
    driven.connection.data_received(OK + b"Content-Length: 1000000\r\n\r\n")
    driven.connection.data_received(b"x" * (HIGH_WATER + 1))
    assert driven.connection.expires_at == 1100.0  # the whole exchange's
    clock.advance(50.0)
    body = (await response).body
    assert isinstance(body, Body)
    await body.read()
    assert driven.connection.expires_at == 1070.0


async def test_a_streamed_request_has_other_times(driven: Driven, clock: FakeClock) -> None:
    body = stream(ended=False)
    driven.connection.send(Expecting.attempt(method="POST", body=body))
    await until(lambda: driven.connection.expires_at == 1100.0)  # the client's time
    driven.connection.pause_writing()
    body.feed(b"a")
    await until(lambda: driven.connection.expires_at == 1030.0)  # the instance takes nothing
    driven.connection.resume_writing()
    await until(lambda: driven.connection.expires_at == 1100.0)
    clock.advance(5.0)
    body.feed_end()
    await until(lambda: driven.connection.expires_at == 1015.0)  # the answer's
    driven.connection.close()


async def test_a_request_that_waits_to_be_asked_for_is_not_late_with_its_answer(
    driven: Driven, clock: FakeClock
) -> None:
    """After ``expect``, which may be longer than an attempt may take, its body is sent anyway."""
    body = stream(b"a", ended=False)
    attempt = Expecting.attempt(method="POST", body=body, expects_continue=True, expect=1000.0)
    response = driven.connection.send(attempt)
    clock.advance(10.0)
    assert driven.connection.expires_at == 1100.0
    driven.connection.data_received(b"HTTP/1.1 100 Continue\r\n\r\n")
    body.feed_end()
    await until(lambda: driven.connection.expires_at == 1020.0)
    driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert (await response).status == 200


async def test_the_end_of_a_request_does_not_take_the_response_s_time_away(
    driven: Driven, clock: FakeClock
) -> None:
    body = stream(b"a", ended=False)
    response = driven.connection.send(Expecting.attempt(method="POST", body=body))
    await until(lambda: b"1\r\na\r\n" in driven.transport.written)
    driven.connection.data_received(OK + b"Content-Length: 100\r\n\r\n")
    body.feed_end()
    await until(lambda: not driven.connection._sending)
    assert driven.connection.expires_at == 1020.0
    await (await response).discard()


@pytest.mark.parametrize("ended", [True, False])
async def test_a_body_that_pauses_while_its_request_is_still_to_come_blames_no_instance(
    driven: Driven, clock: FakeClock, ended: bool
) -> None:
    attempt = Expecting.attempt(method="POST", body=stream(b"a", ended=ended))
    response = driven.connection.send(attempt)
    await until(lambda: b"1\r\na\r\n" in driven.transport.written)
    await until(lambda: driven.connection._sending is not ended)
    driven.connection.data_received(OK + b"Content-Length: 100\r\n\r\n")
    clock.advance(20.0)
    driven.connection.expire(clock())
    body = (await response).body
    assert isinstance(body, Body)
    with pytest.raises(UpstreamTimeout) as caught:
        await body.read()
    assert caught.value.instance_failed is ended


@pytest.mark.parametrize("taken", [100, 200])
async def test_a_body_that_pauses_is_late_though_the_instance_takes_the_request(
    driven: Driven, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setattr(connection, "count_taken", lambda _: counted)
    monkeypatch.setattr(connection, "is_taken", lambda _: False)
    counted = 100
    response = driven.connection.send(Expecting.attempt(method="POST", body=stream(b"a")))
    await until(lambda: not driven.connection._sending)
    driven.connection.data_received(OK + b"Content-Length: 100\r\n\r\n")
    counted = taken
    clock.advance(20.0)
    driven.connection.expire(clock())
    assert driven.connection.state == CLOSED
    body = (await response).body
    assert isinstance(body, Body)
    with pytest.raises(UpstreamTimeout, match="in body"):
        await body.read()


async def test_an_idle_connection_has_its_time(driven: Driven) -> None:
    driven.connection.send(Expecting.attempt())
    driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert driven.connection.expires_at == 1000.0 + driven.pool.config.idle_timeout


@pytest.mark.parametrize(
    ("deadline", "cause"),
    [(NEVER, "timed out in head"), (1010.0, "the exchange's deadline passed")],
)
async def test_what_takes_too_long_is_broken_off(
    driven: Driven, clock: FakeClock, deadline: float, cause: str
) -> None:
    response = driven.connection.send(make_attempt(deadline=deadline, first_byte=10.0))
    clock.advance(10.0)
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout, match=cause) as caught:
        await response
    assert caught.value.sent
    assert not driven.reusable
    assert driven.transport.calls == ["abort"]


@pytest.mark.parametrize(
    ("sent_after", "limits", "blamed"),
    [
        # The exchange's deadline, 10 seconds after it began.
        (0.0, {"deadline": 1010.0}, True),
        (4.9, {"deadline": 1010.0}, True),
        (5.1, {"deadline": 1010.0}, False),
        (9.9, {"deadline": 1010.0}, False),
        # One attempt's, of which a second has gone by until there was a connection.
        (4.0, {"deadline": 1100.0, "answer_by": 1005.9}, True),
        (4.0, {"deadline": 1100.0, "answer_by": 1004.1}, False),
        (4.0, {"answer_by": 1004.1}, False),
        # The instance's own.
        (9.9, {"deadline": 1100.0, "first_byte": 0.1}, True),
        (9.9, {"answer_by": 1100.0, "first_byte": 0.1}, True),
    ],
)
@pytest.mark.parametrize("upload", [False, True], ids=["attempt", "upload"])
async def test_an_instance_is_blamed_for_what_it_had_time_for(
    driven: Driven,
    clock: FakeClock,
    upload: bool,
    sent_after: float,
    limits: dict[str, float],
    blamed: bool,
) -> None:
    body = stream(b"hello", length=5, ended=False) if upload else b""
    settings: dict[str, Any] = {"method": "PUT", "received_at": clock(), **limits}
    attempt = make_attempt(body=body, **settings)
    attempt.asked_at = clock() + 3.0
    if upload:
        response = driven.connection.send(attempt)
        await until(lambda: driven.transport.written.endswith(b"hello"))
        clock.advance(sent_after)
        body.feed_end()  # type: ignore[union-attr]  # a stream
        await until(lambda: not driven.connection._sending)
    else:  # by the client that was slower, other attempts, or the wait for a connection
        clock.advance(sent_after)
        response = driven.connection.send(attempt)
    clock.now = driven.connection.expires_at
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout) as caught:
        await response
    assert caught.value.instance_failed == blamed


@pytest.mark.parametrize(("taken_until", "blamed"), [(4.0, True), (9.0, False)])
async def test_an_instance_that_takes_a_request_slowly_is_blamed_for_its_part_of_the_time(
    driven: Driven, clock: FakeClock, taken_until: float, blamed: bool
) -> None:
    body = stream(ended=False)
    attempt = make_attempt("PUT", body=body, deadline=1010.0, received_at=clock())
    response = driven.connection.send(attempt)
    clock.advance(taken_until)
    driven.connection.pause_writing()
    body.feed(b"a")
    await until(lambda: b"1\r\na\r\n" in driven.transport.written)
    clock.now = 1010.0
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout) as caught:
        await response
    assert caught.value.instance_failed == blamed


async def test_a_body_that_takes_too_long_breaks_off(driven: Driven, clock: FakeClock) -> None:
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + b"Content-Length: 5\r\n\r\nhe")
    message = await response
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout, match="timed out in body"):
        await read_body(message)
    assert not driven.reusable


@pytest.mark.parametrize(
    ("passed", "cause", "blamed"),
    [(9.0, "timed out in body", True), (10.0, "deadline passed", False)],
)
async def test_an_instance_is_blamed_for_a_body_only_within_the_deadline(
    driven: Driven, clock: FakeClock, passed: float, cause: str, blamed: bool
) -> None:
    # For the head it had one second; and it was asked as soon as the exchange began.
    limits = {"deadline": clock() + 10.0, "answer_by": clock() + 1.0, "received_at": clock()}
    response = driven.connection.send(make_attempt(**limits))
    driven.connection.data_received(OK + b"Content-Length: 5\r\n\r\nhe")
    message = await response
    clock.advance(passed)
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout, match=cause) as caught:
        await read_body(message)
    assert caught.value.instance_failed == blamed


async def test_a_deadline_that_passed_with_the_end_of_the_exchange_changes_nothing(
    driven: Driven, clock: FakeClock
) -> None:
    response = driven.connection.send(make_attempt(first_byte=10.0))
    driven.connection.data_received(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    clock.advance(10.0)
    driven.connection.expire(clock())
    assert (await response).status == 200
    assert not driven.reusable


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
