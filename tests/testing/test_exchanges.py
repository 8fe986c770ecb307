"""Exchanges made by hand, and the recorder that answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewayd import Headers, IterBody, Key, Peer, Reject, Response
from gatewayd.testing import FakeClock, Recorder, make_exchange, read_body

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def pieces(*parts: bytes) -> AsyncGenerator[bytes, None]:
    for part in parts:
        yield part


def test_the_target_becomes_path_and_query() -> None:
    request = make_exchange("GET", "/a?b=c?d").request
    assert (request.path, request.query, request.target) == ("/a", "b=c?d", "/a?b=c?d")


@pytest.mark.parametrize(("target", "query"), [("/a", None), ("/a?", "")])
def test_an_empty_query_is_not_an_absent_one(target: str, query: str | None) -> None:
    assert make_exchange("GET", target).request.query == query


def test_the_host_is_a_field_too() -> None:
    request = make_exchange(host="a.example:8001").request
    assert (request.host, request.authority) == ("a.example", "a.example:8001")
    assert request.headers.get("Host") == "a.example:8001"


def test_headers_may_repeat() -> None:
    request = make_exchange(headers=[("A", "1"), ("A", "2")]).request
    assert request.headers.get_all("A") == ["1", "2"]


def test_the_peer_may_be_an_address_or_a_peer() -> None:
    peer = Peer("192.0.2.7", scheme="https")
    assert make_exchange(peer="192.0.2.7").request.peer.address == "192.0.2.7"
    assert make_exchange(peer=peer).request.peer is peer


def test_params_and_values_are_set() -> None:
    key: Key[int] = Key("count")
    exchange = make_exchange(params={"id": "1"}, values={key: 2})
    assert (exchange.params, exchange[key]) == ({"id": "1"}, 2)


async def test_reads_a_body_whatever_it_is() -> None:
    assert await read_body(Response(200, body=b"whole")) == b"whole"
    assert await read_body(Response(200, body=IterBody(pieces(b"pie", b"ces")))) == b"pieces"


async def test_the_recorder_records_exchanges_and_bodies() -> None:
    recorder = Recorder()
    exchange = make_exchange("POST", body=IterBody(pieces(b"a", b"b")))
    await recorder(exchange)
    assert (recorder.exchanges, recorder.bodies) == ([exchange], [b"ab"])
    assert recorder.request is exchange.request


async def test_the_recorder_answers_one_after_another_and_repeats_the_last() -> None:
    recorder = Recorder(Response(500), lambda exchange: Response(201), Response(202))
    statuses = [(await recorder(make_exchange())).status for _ in range(4)]
    assert statuses == [500, 201, 202, 202]


async def test_the_recorder_raises_exceptions() -> None:
    with pytest.raises(Reject):
        await Recorder(Reject(404, "no"))(make_exchange())


async def test_changing_one_answer_does_not_change_the_next() -> None:
    recorder = Recorder(Response(200, Headers.of([("A", "1")])))
    first = await recorder(make_exchange())
    first.headers.set("A", "2")
    assert (await recorder(make_exchange())).headers.get("A") == "1"


def test_time_passes_only_when_told() -> None:
    clock = FakeClock(10)
    clock.advance(2.5)
    assert (clock(), clock()) == (12.5, 12.5)
