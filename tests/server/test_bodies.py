"""Bodies of requests and responses, as they move between client and filters."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import Body, Exchange, Headers, IterBody, NoBody, Response, UpstreamReset
from gatewayd.body import HIGH_WATER, StreamBody
from gatewayd.testing import read_body
from tests.support.raw import until
from tests.support.upstream import stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.server.conftest import Served

    Serve = Callable[..., Awaitable[Served]]

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
EXPECT = POST + b"Expect: 100-continue\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(exchange: Exchange) -> Response:
    """Answer with the request's body, and tell how it came."""
    body = exchange.request.body
    content = await read_body(exchange.request)
    headers = Headers.of([("X-Came", "whole" if isinstance(body, bytes) else str(body.length))])
    if isinstance(body, Body) and body.trailers is not None:
        headers.set("X-Trailers", json.dumps(list(body.trailers)))
    return Response(200, headers, content)


async def ignore(exchange: Exchange) -> Response:
    """Answer without a look at the request's body."""
    return Response(200, body=b"ignored")


# --- requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "came", "body"),
    [
        (GET, "whole", b""),
        (POST + b"Content-Length: 0\r\n\r\n", "whole", b""),
        (POST + b"Content-Length: 5\r\n\r\nhello", "whole", b"hello"),
        (CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "whole", b"hello!"),
        (CHUNKED + b"0\r\n\r\n", "whole", b""),
    ],
)
async def test_a_body_that_comes_with_its_head_is_whole(
    serve: Serve, request_: bytes, came: str, body: bytes
) -> None:
    wire = await (await serve(echo)).connect()
    for _ in range(2):
        answer = await wire.ask(request_)
        assert (answer.header("X-Came"), answer.body) == (came, body)


@pytest.mark.parametrize(
    ("head", "came", "pieces"),
    [
        (POST + b"Content-Length: 10\r\n\r\n", "10", [b"hello", b"world"]),
        (CHUNKED, "None", [b"5\r\nhel", b"lo\r\n5\r\nworld\r", b"\n0\r\n", b"\r\n"]),
    ],
)
async def test_a_body_that_comes_later_is_a_stream(
    serve: Serve, head: bytes, came: str, pieces: list[bytes]
) -> None:
    served = await serve(echo)
    wire = await served.connect()
    for _ in range(2):
        wire.send(head)
        await until(lambda: served.gateway.server.in_flight == 1)
        for piece in pieces:
            wire.send(piece)
            await asyncio.sleep(0)
        answer = await wire.read_answer()
        assert (answer.header("X-Came"), answer.body) == (came, b"helloworld")


async def test_trailers_come_with_the_end_but_not_those_that_are_the_gateway_s(
    serve: Serve,
) -> None:
    wire = await (await serve(echo)).connect()
    trailers = b"Checksum: 1\r\nX-User-Id: admin\r\nX_Forwarded_For: 1\r\nHost: b\r\n"
    answer = await wire.ask(CHUNKED + b"1\r\na\r\n0\r\n" + trailers + b"\r\n")
    assert answer.body == b"a"
    assert json.loads(answer.header("X-Trailers") or "") == [["Checksum", "1"]]


async def test_the_next_request_begins_where_the_body_ends(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    wire.send(POST + b"Content-Length: 5\r\n\r\nhello" + CHUNKED + b"1\r\na\r\n0\r\n\r\n" + GET)
    assert [(await wire.read_answer()).body for _ in range(3)] == [b"hello", b"a", b""]


@pytest.mark.parametrize(
    "body", [b"5\r\nhello!\r\n0\r\n\r\n", b"x\r\n", b"0\r\nA : b\r\n\r\n", b"5\nhello\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("later", [False, True])
async def test_a_body_that_breaks_its_framing_is_refused(
    serve: Serve, body: bytes, later: bool
) -> None:
    served = await serve(echo)
    wire = await served.connect()
    if later:
        wire.send(CHUNKED)
        await until(lambda: served.gateway.server.in_flight == 1)
        wire.send(body)
    else:
        wire.send(CHUNKED + body)
    answer = await wire.read_answer()
    assert (answer.status, answer.header("Connection")) == (400, "close")
    assert json.loads(answer.body)["code"] == "malformed_request"
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize("head", [POST + b"Content-Length: 10\r\n\r\n", CHUNKED + b"5\r\n"])
async def test_a_body_that_ends_early_is_refused(serve: Serve, head: bytes) -> None:
    wire = await (await serve(echo)).connect()
    wire.send(head + b"hello")
    wire.end()
    assert (await wire.read_answer()).status == 400
    assert await wire.read_to_end() == b""


async def test_a_client_that_leaves_in_the_middle_of_its_body(serve: Serve) -> None:
    failures: list[BaseException] = []

    async def read(exchange: Exchange) -> Response:
        try:
            await read_body(exchange.request)
        except BaseException as error:
            failures.append(error)
            raise
        raise AssertionError

    served = await serve(read)
    wire = await served.connect()
    wire.send(POST + b"Content-Length: 10\r\n\r\nhello")
    await until(lambda: served.gateway.server.in_flight == 1)
    wire.reset()
    await served.until_closed()
    assert isinstance(failures[0], (ConnectionResetError, asyncio.CancelledError))


async def test_a_client_sends_no_more_than_is_read(serve: Serve) -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await gate.wait()
        body = exchange.request.body
        assert isinstance(body, StreamBody)
        size = 0
        while piece := await body.read():
            assert len(piece) < HIGH_WATER + 512 * 1024  # one read of the event loop
            size += len(piece)
        return Response(200, body=b"%d" % size)

    served = await serve(slow)
    wire = await served.connect()
    size = 20_000_000
    wire.send(POST + b"Content-Length: %d\r\n\r\n" % size)
    sending = asyncio.create_task(wire.send_all(bytes(size)))
    reader = (await served.connection())._reader
    await until(lambda: reader._paused)
    assert not sending.done()
    gate.set()
    assert (await wire.read_answer()).body == b"%d" % size
    await sending


async def test_a_held_back_body_is_asked_for_when_it_is_read(serve: Serve) -> None:
    read = asyncio.Event()

    async def later(exchange: Exchange) -> Response:
        await read.wait()
        return await echo(exchange)

    served = await serve(later)
    wire = await served.connect()
    wire.send(EXPECT + b"Content-Length: 5\r\n\r\n")
    await until(lambda: served.gateway.server.in_flight == 1)
    read.set()
    assert (await wire.read_answer()).status == 100
    wire.send(b"hello")
    answer = await wire.read_answer()
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.header("Connection") is None


async def test_a_held_back_body_that_nobody_reads_is_not_asked_for(serve: Serve) -> None:
    wire = await (await serve(ignore)).connect()
    answer = await wire.ask(EXPECT + b"Content-Length: 5\r\n\r\n")
    assert (answer.status, answer.header("Connection")) == (200, "close")
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize(
    "request_",
    [EXPECT + b"Content-Length: 5\r\n\r\nhello", EXPECT + b"\r\n"],
    ids=["not held back", "no body"],
)
async def test_a_body_that_is_there_is_not_asked_for(serve: Serve, request_: bytes) -> None:
    wire = await (await serve(echo)).connect()
    assert (await wire.ask(request_)).status == 200
    assert (await wire.ask(request_)).status == 200


async def test_after_a_body_that_nobody_read_the_connection_goes_on_if_it_is_whole(
    serve: Serve,
) -> None:
    wire = await (await serve(ignore)).connect()
    for _ in range(2):
        answer = await wire.ask(POST + b"Content-Length: 5\r\n\r\nhello")
        assert (answer.body, answer.header("Connection")) == (b"ignored", None)


async def test_a_client_that_still_sends_gets_its_answer_all_the_same(serve: Serve) -> None:
    served = await serve(ignore)
    wire = await served.connect()
    wire.send(POST + b"Content-Length: 10000000\r\n\r\n")
    sending = asyncio.create_task(wire.send_all(bytes(9_999_999)))
    answer = await wire.read_answer()
    assert (answer.status, answer.header("Connection")) == (200, "close")
    assert await wire.read_to_end() == b""
    await sending
    served.clock.advance(2)
    await served.until_closed()


async def test_what_a_client_sends_after_its_answer_is_dropped_only_for_a_while(
    serve: Serve,
) -> None:
    served = await serve(ignore)
    wire = await served.connect()
    assert (await wire.ask(POST + b"Content-Length: 1000\r\n\r\n")).status == 200
    connection = await served.connection()
    for _ in range(40):
        served.clock.advance(1)
        connection.data_received(b"x")
    await served.until_closed()


# --- responses -------------------------------------------------------------------------------


async def pieces(*content: bytes) -> AsyncGenerator[bytes, None]:
    for piece in content:
        yield piece


def with_trailers() -> Body:
    body = StreamBody(None, pause=nothing, resume=nothing)
    body.feed(b"hello")
    body.feed_end(Headers.of([("Checksum", "1")]))
    return body


def nothing() -> None:
    """Bodies of tests are small."""


@pytest.mark.parametrize(
    ("make", "method", "version", "length", "coding", "content"),
    [
        (lambda: b"hello", "GET", "1.1", "5", None, b"hello"),
        (lambda: b"", "GET", "1.1", "0", None, b""),
        (lambda: b"hello", "HEAD", "1.1", "5", None, b""),
        (lambda: b"hello", "GET", "1.0", "5", None, b"hello"),
        (lambda: IterBody(pieces(b"hel", b"lo"), 5), "GET", "1.1", "5", None, b"hello"),
        (lambda: IterBody(pieces(b"hel", b"lo")), "GET", "1.1", None, "chunked", b"hello"),
        (lambda: IterBody(pieces()), "GET", "1.1", None, "chunked", b""),
        (lambda: IterBody(pieces(b"hel", b"lo")), "GET", "1.0", None, None, b"hello"),
        (lambda: IterBody(pieces(b"hel", b"lo"), 5), "GET", "1.0", "5", None, b"hello"),
        (lambda: IterBody(pieces(b"hel", b"lo")), "HEAD", "1.1", None, None, b""),
        (lambda: NoBody(500), "HEAD", "1.1", "500", None, b""),
        (lambda: NoBody(), "HEAD", "1.1", None, None, b""),
        (lambda: stream(b"hello"), "GET", "1.1", None, "chunked", b"hello"),
        (lambda: stream(b"hello", length=5), "GET", "1.1", "5", None, b"hello"),
        (with_trailers, "GET", "1.1", None, "chunked", b"hello"),
        (with_trailers, "GET", "1.0", None, None, b"hello"),
    ],
)
async def test_a_response_is_framed_for_who_asked(
    serve: Serve,
    make: Callable[[], bytes | Body],
    method: str,
    version: str,
    length: str | None,
    coding: str | None,
    content: bytes,
) -> None:
    async def answer(exchange: Exchange) -> Response:
        return Response(200, body=make())

    wire = await (await serve(answer)).connect()
    request = f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n".encode()
    for _ in range(2 if version == "1.1" else 1):
        response = await wire.ask(request, method)
        assert response.header("Content-Length") == length
        assert response.header("Transfer-Encoding") == coding
        assert response.body == content
        trailers = (("Checksum", "1"),) if make is with_trailers and version == "1.1" else ()
        assert response.trailers == trailers
    if version == "1.0":
        assert await wire.read_to_end() == b""


@pytest.mark.parametrize(
    ("status", "body", "length"),
    [(204, b"", None), (204, b"hidden", None), (304, b"", None), (304, NoBody(7), "7")],
)
async def test_a_response_that_never_has_a_body_has_none(
    serve: Serve, status: int, body: bytes | Body, length: str | None
) -> None:
    async def answer(exchange: Exchange) -> Response:
        return Response(status, body=body)

    wire = await (await serve(answer)).connect()
    for _ in range(2):
        response = await wire.ask(GET)
        assert (response.status, response.header("Content-Length")) == (status, length)
        assert response.header("Transfer-Encoding") is None


class Watched(Body):
    """A body that fails where it is told to, and knows whether it was closed."""

    def __init__(self, *content: bytes | BaseException, length: int | None = None) -> None:
        super().__init__(length)
        self._content = list(content)
        self.closed = 0

    async def read(self) -> bytes:
        piece = self._content.pop(0) if self._content else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    ("content", "length", "logged"),
    [
        ([b"hel", ValueError("broken")], 5, "broken"),
        ([b"hel", ValueError("broken")], None, "broken"),
        ([b"hel", asyncio.CancelledError("not ours")], None, "not ours"),
        ([b"hel", UpstreamReset("gone", sent=True)], None, None),
        ([b"hel"], 5, "shorter than declared"),
        ([], 5, "shorter than declared"),
        ([b"hel", b"lo!"], 5, "longer than declared"),
        ([b"hello!"], 5, "longer than declared"),
    ],
    ids=str,
)
async def test_a_body_that_is_not_what_it_should_be_breaks_the_connection_off(
    serve: Serve,
    content: list[Any],
    length: int | None,
    logged: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = Watched(*content, length=length)

    async def answer(exchange: Exchange) -> Response:
        return Response(200, body=body)

    served = await serve(answer)
    wire = await served.connect()
    wire.send(GET + GET)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await wire.read_answer()
    await served.until_closed()
    assert body.closed == 1
    told = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert [logged in one for one in told] == [True] if logged else not told


@pytest.mark.parametrize("body", ["text", bytearray(b"text"), None], ids=str)
async def test_what_is_no_body_is_our_fault(
    serve: Serve, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(exchange: Exchange) -> Response:
        return Response(200, body=body)

    wire = await (await serve(answer)).connect()
    assert (await wire.ask(GET)).status == 500
    assert [record.name for record in caplog.records] == ["gatewayd.pipeline"]


async def test_a_body_is_closed_after_it_was_sent(serve: Serve) -> None:
    bodies: list[Watched] = []

    async def answer(exchange: Exchange) -> Response:
        bodies.append(Watched(b"hello", length=5))
        return Response(200, body=bodies[-1])

    wire = await (await serve(answer)).connect()
    for method in ("GET", "HEAD"):
        request = f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        assert (await wire.ask(request, method)).header("Content-Length") == "5"
    await until(lambda: all(body.closed == 1 for body in bodies))


class Endless(Body):
    """A body that never ends, and counts what was read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = 0
        self.closed = 0

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        self.read_bytes += 65536
        return bytes(65536)

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_client_that_leaves_in_the_middle_of_a_response_closes_its_body(
    serve: Serve,
) -> None:
    body = Endless()

    async def answer(exchange: Exchange) -> Response:
        return Response(200, body=body)

    served = await serve(answer)
    wire = await served.connect()
    wire.send(GET)
    await wire.read_head()
    wire.reset()
    await served.until_closed()
    assert body.closed == 1


async def test_a_client_that_takes_nothing_holds_the_body_and_is_dropped_in_time(
    serve: Serve,
) -> None:
    body = Endless()

    async def answer(exchange: Exchange) -> Response:
        return Response(200, body=body)

    served = await serve(answer, "send_timeout = 60")
    wire = await served.connect(receive_buffer=4096)
    wire.send(GET)
    connection = await served.connection()
    await until(lambda: connection.writing_paused)
    before = body.read_bytes
    for _ in range(100):
        await asyncio.sleep(0)
    assert body.read_bytes == before
    await served.wait_until_closed(60)
    assert body.closed == 1


async def test_a_client_that_takes_a_little_each_time_is_not_dropped(serve: Serve) -> None:
    """So little that the gateway goes on waiting: it writes when most of what it has is gone."""

    async def answer(exchange: Exchange) -> Response:
        return Response(200, body=bytes(20_000_000))

    served = await serve(answer, "send_timeout = 60")
    wire = await served.connect(receive_buffer=4096)
    wire.send(GET)
    connection = await served.connection()
    for _ in range(5):
        await until(lambda: connection.writing_paused)
        await wire.read(500_000)
        await served.wait(60)
    assert served.gateway.server.open_connections == 1
    wire.reset()
    await served.until_closed()


async def test_a_slow_client_that_takes_something_is_not_dropped(serve: Serve) -> None:
    body = Endless()

    async def answer(exchange: Exchange) -> Response:
        return Response(200, body=body)

    served = await serve(answer, "send_timeout = 60")
    wire = await served.connect(receive_buffer=4096)
    wire.send(GET)
    connection = await served.connection()
    for _ in range(3):
        await until(lambda: connection.writing_paused)
        served.clock.advance(59)
        before = body.read_bytes
        while body.read_bytes == before:
            await wire.read_some()
    assert body.closed == 0
    wire.reset()
    await served.until_closed()
