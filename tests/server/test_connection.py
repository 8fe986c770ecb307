"""Requests on one connection, one after the other."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any
from weakref import ref

import pytest

from gatewayd import Body, Exchange, Headers, Key, Reject, Response
from gatewayd.testing import read_body
from tests.support.raw import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.server.conftest import Served
    from tests.support.raw import Answer

    Serve = Callable[..., Awaitable[Served]]

CLOSE = b"Connection: close\r\n"
NOTE: Key[str] = Key("note")


def get(target: str = "/", *fields: bytes, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request without a body."""
    lines = [f"{method} {target} HTTP/{version}".encode(), b"Host: a", *fields, b"", b""]
    return b"\r\n".join(lines)


async def echo(exchange: Exchange) -> Response:
    """Answer with method, authority, path and fields."""
    request = exchange.request
    headers = dict(request.headers)
    said = [request.method, request.authority, request.path, request.query, headers]
    return Response(200, body=json.dumps(said).encode())


async def test_requests_follow_one_another_on_a_connection(serve: Serve) -> None:
    served = await serve(echo)
    wire = await served.connect()
    for target in ("/a", "/b?c", "/a"):
        answer = await wire.ask(get(target))
        assert answer.status == 200
        assert answer.header("Connection") is None
        path, mark, query = target.partition("?")
        assert json.loads(answer.body)[2:4] == [path, query if mark else None]
    assert served.gateway.server.open_connections == 1


@pytest.mark.parametrize("split", [False, True], ids=["at once", "byte by byte"])
async def test_pipelined_requests_are_answered_in_order(serve: Serve, split: bool) -> None:
    served = await serve(echo)
    wire = await served.connect()
    sent = b"".join(get(f"/{number}") for number in range(5))
    if split:
        connection = await served.connection()
        for byte in sent:
            connection.data_received(bytes([byte]))
    else:
        wire.send(sent)
    for number in range(5):
        answer = await wire.read_answer()
        assert json.loads(answer.body)[2] == f"/{number}"


async def test_pipelined_requests_let_others_have_their_turn(serve: Serve) -> None:
    """None of these waits for anything, so that they could take the loop for themselves."""
    ended = []

    async def answer(exchange: Exchange) -> Response:
        if exchange.request.path == "/0":
            asyncio.get_running_loop().call_soon(lambda: ended.append("another"))
        ended.append(exchange.request.path)
        return Response(200)

    wire = await (await serve(answer)).connect()
    wire.send(b"".join(get(f"/{number}") for number in range(100)))
    for _ in range(100):
        assert (await wire.read_answer()).status == 200
    assert ended.index("another") <= 33


async def test_what_waits_behind_a_request_is_bounded(serve: Serve) -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await gate.wait()
        return Response(200, body=exchange.request.path.encode())

    served = await serve(slow)
    wire = await served.connect()
    count = 20000
    sending = asyncio.create_task(
        wire.send_all(b"".join(get(f"/{number}") for number in range(count)))
    )
    reader = (await served.connection())._reader
    await until(lambda: reader._paused)
    assert len(reader._inbox) < 65536 + 512 * 1024  # one read of the event loop
    gate.set()
    for number in range(count):
        assert (await wire.read_answer()).body == b"/%d" % number
    await sending


async def test_what_waits_stays_bounded_from_request_to_request(serve: Serve) -> None:
    """Each request takes a few bytes of what waits, and must not let in as much as a read has."""
    waiting = []

    async def slow(exchange: Exchange) -> Response:
        for _ in range(5):
            await asyncio.sleep(0)  # the loop reads what it may
        waiting.append(len(connection._reader._inbox))
        return Response(200)

    served = await serve(slow)
    wire = await served.connect()
    connection = await served.connection()
    sending = asyncio.create_task(wire.send_all(get() * 200_000))
    for _ in range(500):
        assert (await wire.read_answer()).status == 200
    sending.cancel()
    wire.reset()
    await served.until_closed()
    assert max(waiting) < 65536 + 512 * 1024  # one read of the event loop


async def test_a_bad_request_does_not_spoil_the_good_one_before_it(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    wire.send(get("/good") + b"BAD\r\n\r\n" + get("/never"))
    assert json.loads((await wire.read_answer()).body)[2] == "/good"
    refusal = await wire.read_answer()
    assert (refusal.status, refusal.header("Connection")) == (400, "close")
    assert refusal.header("Content-Type") == "application/problem+json"
    problem = json.loads(refusal.body)
    assert problem["code"] == "malformed_request"
    assert len(problem["request_id"]) == 24
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize(
    ("request_", "field", "goes_on"),
    [
        (get(), None, True),
        (get("/", b"Connection: keep-alive"), None, True),
        (get("/", b"Connection: close"), "close", False),
        (get("/", b"Connection: x, Close"), "close", False),
        (get(version="1.0"), "close", False),
        (get("/", b"Connection: Keep-Alive", version="1.0"), "keep-alive", True),
        (get("/", b"Connection: keep-alive, close", version="1.0"), "close", False),
    ],
)
async def test_who_ends_the_connection(
    serve: Serve, request_: bytes, field: str | None, goes_on: bool
) -> None:
    wire = await (await serve(echo)).connect()
    answer = await wire.ask(request_)
    assert answer.header("Connection") == field
    if goes_on:
        assert (await wire.ask(request_)).status == 200
    else:
        assert await wire.read_to_end() == b""


@pytest.mark.parametrize(
    ("before", "status"), [(b"\r\n", 200), (b"\r\n\r\n", 400), (b"\n", 400), (b" ", 400)]
)
async def test_one_empty_line_before_a_request_is_ignored(
    serve: Serve, before: bytes, status: int
) -> None:
    wire = await (await serve(echo)).connect()
    assert (await wire.ask(before + get())).status == status


async def test_fields_that_come_again_belong_to_the_new_request(serve: Serve) -> None:
    async def leave_a_mark(exchange: Exchange) -> Response:
        assert "X-Mark" not in exchange.request.headers
        assert NOTE not in exchange
        exchange.request.headers.set("X-Mark", "1")
        exchange[NOTE] = "mine"
        return await echo(exchange)

    wire = await (await serve(leave_a_mark)).connect()
    for target, method in (("/a", "GET"), ("/b", "PUT"), ("/a", "GET")):
        answer = await wire.ask(get(target, b"A: b", method=method))
        assert json.loads(answer.body)[:3] == [method, "a", target]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"TRACE / HTTP/1.1", 405),
        (b"CONNECT a:443 HTTP/1.1", 405),
        (b"GET /%2e%2e HTTP/1.1", 400),
        (b"GET / HTTP/1.2", 505),
        (b"GET * HTTP/1.1", 400),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1", 414),
    ],
)
async def test_a_line_is_checked_also_where_the_fields_are_known(
    serve: Serve, line: bytes, status: int
) -> None:
    wire = await (await serve(echo)).connect()
    assert (await wire.ask(get())).status == 200
    assert (await wire.ask(line + b"\r\nHost: a\r\n\r\n")).status == status


def what_was_said(answer: Answer) -> tuple[int, object]:
    said = json.loads(answer.body)
    return answer.status, said if answer.status == 200 else said["code"]


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
async def test_what_is_known_of_the_request_before_changes_no_answer(
    serve: Serve, at_once: bool
) -> None:
    """Whatever came before, a request is answered as on a connection of its own."""
    served = await serve(echo)
    good = [
        get("/a"),
        get("/b?c", b"A: b"),
        get("/a", b"A: b", method="PUT"),
        get("/a", b"Content-Length: 5", method="POST") + b"GET /",
        get("/a", b"Connection: keep-alive", version="1.0"),
        get("http://b/c"),
        get("/" + "d" * 300),
        b"\r\n" + get("/a"),
    ]
    bad = [
        b"\r\n\r\n" + get("/a"),
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: a\r\n\r\n",
        b"get /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"SUBMIT /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a?\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\n \r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ]
    alone = {}
    for one in good + bad:
        alone[one] = what_was_said(await (await served.connect()).ask(one))
    assert {alone[one][0] for one in good} == {200}
    assert 200 not in {alone[one][0] for one in bad}
    for before, after in product(good, good + bad):
        wire = await served.connect()
        if at_once:
            wire.send(before + after)
        else:
            wire.send(before)
        assert what_was_said(await wire.read_answer()) == alone[before]
        if not at_once:
            wire.send(after)
        assert what_was_said(await wire.read_answer()) == alone[after], (before, after)
        wire.close()


async def test_fields_of_a_target_in_absolute_form_are_its_own(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    for target, host in (("/", "a"), ("http://b:8/", "b:8"), ("/", "a"), ("http://c/", "c")):
        answer = json.loads((await wire.ask(get(target))).body)
        assert answer[1] == host
        assert answer[4] == {"Host": host}


async def test_the_known_fields_are_checked_anew_for_another_version(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    fields = (b"Connection: keep-alive", b"Expect: 100-continue")
    assert (await wire.ask(get("/", *fields, version="1.0"))).header("Connection") == "keep-alive"
    assert (await wire.ask(get("/", *fields))).header("Connection") is None


async def test_the_known_fields_are_checked_anew_after_a_reload(serve: Serve) -> None:
    served = await serve(echo)
    wire = await served.connect()
    request = get("/", b"X-Tenant: 1")
    assert json.loads((await wire.ask(request)).body)[4] == {"Host": "a", "X-Tenant": "1"}
    await served.gateway.adopt(
        'pipeline.filters = ["answer"]\nserver.identity_headers = ["X-Tenant"]'
    )
    assert json.loads((await wire.ask(request)).body)[4] == {"Host": "a"}


async def test_who_the_peer_is_is_found_out_anew_after_a_reload(serve: Serve) -> None:
    async def tell_client(exchange: Exchange) -> Response:
        return Response(200, body=exchange.request.peer.address.encode())

    served = await serve(tell_client)
    wire = await served.connect()
    request = get("/", b"X-Forwarded-For: 192.0.2.1")
    for proxies, client in (("127.0.0.1", b"192.0.2.1"), ("10.0.0.0/8", b"127.0.0.1")):
        await served.gateway.adopt(
            f'pipeline.filters = ["answer"]\nserver.trusted_proxies = ["{proxies}"]'
        )
        assert (await wire.ask(request)).body == client


async def test_a_client_that_has_ended_its_side_gets_its_answers(serve: Serve) -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await gate.wait()
        return await echo(exchange)

    served = await serve(slow)
    wire = await served.connect()
    wire.send(get("/a") + get("/b"))
    wire.end()
    connection = await served.connection()
    await until(lambda: connection._client_eof)
    gate.set()
    for path in ("/a", "/b"):
        assert json.loads((await wire.read_answer()).body)[2] == path
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize("sent", [b"", b"GET / HT", get()[:-1]])
async def test_a_client_that_ends_without_a_whole_request_gets_none(
    serve: Serve, sent: bytes
) -> None:
    wire = await (await serve(echo)).connect()
    wire.send(sent)
    wire.end()
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize("waiting", [0, 1, 2])
async def test_a_client_that_leaves_ends_its_exchange(serve: Serve, waiting: int) -> None:
    """Also the second one of a connection, behind which others wait."""
    ended: list[tuple[Exchange, BaseException | None]] = []
    started = asyncio.Event()

    async def wait(exchange: Exchange) -> Response:
        if exchange.request.path == "/first":
            return Response(200)
        exchange.on_finish(lambda exchange, error: ended.append((exchange, error)))
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    served = await serve(wait)
    wire = await served.connect()
    wire.send(get("/first") + get("/second") + get("/third") * waiting)
    await started.wait()
    wire.reset()
    await served.until_closed()
    ((exchange, error),) = ended
    assert exchange.request.path == "/second"
    assert isinstance(error, asyncio.CancelledError)


async def test_the_end_of_an_exchange_is_told_after_its_response(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[BaseException | None] = []

    def fail(*_: Any) -> None:
        raise ValueError("faulty callback")

    async def answer(exchange: Exchange) -> Response:
        exchange.on_finish(lambda _, error: ended.append(error))
        exchange.on_finish(fail)
        return Response(200)

    wire = await (await serve(answer)).connect()
    for _ in range(2):
        assert (await wire.ask(get())).status == 200
    await until(lambda: len(ended) == 2)
    assert ended == [None, None]
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Reject(403, "denied", headers=[("X-Why", "so")]), 403, "denied"),
        (ValueError("secret"), 500, "internal_error"),
        (SystemExit("secret"), 500, "internal_error"),  # of a filter; the worker goes on
    ],
)
async def test_a_filter_that_raises_does_not_end_the_connection(
    serve: Serve, error: BaseException, status: int, code: str
) -> None:
    async def fail(exchange: Exchange) -> Response:
        raise error

    wire = await (await serve(fail)).connect()
    for _ in range(2):
        answer = await wire.ask(get())
        assert (answer.status, json.loads(answer.body)["code"]) == (status, code)
        assert "secret" not in answer.body.decode()
        assert answer.header("Connection") is None


async def test_a_filter_that_returns_no_response_is_our_fault(serve: Serve) -> None:
    async def forget(exchange: Exchange) -> Response:
        return None  # type: ignore[return-value]  # the mistake

    wire = await (await serve(forget)).connect()
    for _ in range(2):
        assert (await wire.ask(get())).status == 500


async def test_a_head_that_is_refused_is_answered_without_a_body(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    wire.send(get("/%00", method="HEAD"))
    assert (await wire.read_answer("HEAD")).status == 400
    assert await wire.read_to_end() == b""


async def test_long_fields_are_not_remembered(serve: Serve) -> None:
    """An idle connection would keep them, and there may be ten thousand."""
    served = await serve(echo)
    wire = await served.connect()
    connection = await served.connection()
    kept = []
    for length in (3000, 8000):
        assert (await wire.ask(get("/", b"A: " + b"b" * length))).status == 200
        # aiohttp's parser has the fields of the last head until the next one.
        kept.append(
            [connection._reader._fields is not None, connection._reader._parser is not None]
        )
    assert kept == [[True, True], [False, False]]


class Mark:
    """Something that an exchange holds, and that can be seen to go with it."""


MARK: Key[Mark] = Key("mark")


async def test_an_idle_connection_does_not_keep_its_last_exchange(serve: Serve) -> None:
    """Nor its bodies: a request's may be as long as one read."""
    gone: list[ref[Mark]] = []

    async def mark(exchange: Exchange) -> Response:
        exchange[MARK] = one = Mark()
        gone.append(ref(one))
        return Response(200, body=b"ok")

    wire = await (await serve(mark)).connect()
    assert (await wire.ask(get())).status == 200
    await until(lambda: gone[0]() is None)
    assert (await wire.ask(get())).status == 200


async def test_an_exchange_whose_client_has_left_is_freed_at_once(serve: Serve) -> None:
    gone: list[ref[Mark]] = []

    async def wait(exchange: Exchange) -> Response:
        exchange[MARK] = one = Mark()
        gone.append(ref(one))
        del one
        await asyncio.Event().wait()
        return Response(200)

    wire = await (await serve(wait)).connect()
    wire.send(get())
    await until(lambda: len(gone) == 1)
    gc.disable()  # it would hide that somebody holds on to what has ended
    try:
        wire.reset()
        await until(lambda: gone[0]() is None)
    finally:
        gc.enable()


async def test_interim_responses_go_out_before_the_final_one(serve: Serve) -> None:
    kept: list[Exchange] = []

    async def hint(exchange: Exchange) -> Response:
        kept.append(exchange)
        exchange.send_interim(103, Headers.of([("Link", "</style.css>")]))
        exchange.send_interim(102, Headers())
        return Response(200, body=b"ok")

    served = await serve(hint)
    wire = await served.connect()
    first = await wire.ask(get())
    assert (first.status, first.fields) == (103, (("Link", "</style.css>"),))
    assert (await wire.read_answer()).status == 102
    assert (await wire.read_answer()).status == 200
    kept[0].send_interim(103, Headers())  # too late
    assert (await wire.ask(get(version="1.0"))).status == 200
    assert await wire.read_to_end() == b""
    kept[0].send_interim(103, Headers())  # nobody is there


class Closing(Body):
    """A body that knows whether it was closed."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("status", [99, 600, 999])
async def test_a_response_that_cannot_be_sent_is_our_fault(
    serve: Serve, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    body = Closing()

    async def answer(exchange: Exchange) -> Response:
        return Response(status, body=body)

    wire = await (await serve(answer)).connect()
    for _ in range(2):
        response = await wire.ask(get())
        assert (response.status, json.loads(response.body)["code"]) == (500, "internal_error")
    assert body.closed
    assert len(caplog.records) == 2


async def test_what_runs_is_counted(serve: Serve) -> None:
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> Response:
        await gate.wait()
        return Response(200, body=await read_body(exchange.request))

    served = await serve(slow)
    wires = [await served.connect() for _ in range(3)]
    for wire in wires:
        wire.send(get())
    server, generation = served.gateway.server, served.gateway.generations.current
    await until(lambda: server.in_flight == 3)
    assert (generation.in_flight, server.open_connections) == (3, 3)
    gate.set()
    for wire in wires:
        assert (await wire.read_answer()).status == 200
    await until(lambda: server.in_flight == 0)
    assert generation.in_flight == 0


async def test_a_repr_says_where_it_is(serve: Serve) -> None:
    served = await serve(echo)
    wire = await served.connect()
    connection = await served.connection()
    expected = f"<client connection of ('127.0.0.1', {wire.local_port}): head>"
    assert repr(connection) == expected


async def test_an_exchange_that_swallows_its_cancellation_does_not_keep_the_drain(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gatewayd.server.server.ABORT_SECONDS", 0.05)
    entered, released = asyncio.Event(), asyncio.Event()

    async def defiant(exchange: Exchange) -> Response:
        entered.set()
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()
        return Response(200)

    served = await serve(defiant)
    wire = await served.connect()
    wire.send(get())
    await entered.wait()
    await served.gateway.server.drain(0)
    assert "goes on that was broken off" in caplog.text
    assert "defiant" in caplog.text
    released.set()
