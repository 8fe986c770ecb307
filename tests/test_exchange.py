from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

from gatewayd import (
    Body,
    Exchange,
    Headers,
    Key,
    Peer,
    Request,
    Response,
)
from gatewayd.exchange import Attribute, new_request_id
from gatewayd.testing import make_exchange
from tests.support.routing import make_route

if TYPE_CHECKING:
    from collections.abc import Callable


def test_keys_are_told_apart_by_what_they_are_not_by_their_name() -> None:
    exchange = make_exchange()
    mine, theirs = Key[str]("user"), Key[str]("user")
    exchange[mine] = "me"
    assert exchange.get(theirs) is None
    assert exchange.get(theirs, "nobody") == "nobody"
    assert exchange[mine] == "me"
    assert repr(mine) == "Key('user')"


def test_a_key_that_nobody_has_set() -> None:
    with pytest.raises(KeyError, match="user"):
        make_exchange()[Key[str]("user")]


def test_route_and_params_are_empty_before_they_are_set() -> None:
    exchange = make_exchange()
    assert exchange.route is None
    assert exchange.params == {}
    route = make_route()
    exchange.route, exchange.params = route, {"id": "7"}
    assert exchange.route is route
    assert exchange.params == {"id": "7"}


def test_an_exchange_takes_over_what_filters_have_set_on_another() -> None:
    key: Key[str] = Key("key")
    one, other = make_exchange(), make_exchange()
    values = {name: object() for name in (*get_args(Attribute), "observation")}
    for name, value in values.items():
        setattr(other, name, value)
    other[key] = "value"
    one.take_over(other)
    assert {name: getattr(one, name) for name in values} == values
    assert one[key] == "value"


def test_an_exchange_is_itself_whatever_it_holds() -> None:
    one, other = make_exchange(), make_exchange()
    assert one != other
    assert len({one, other}) == 2


def test_ids_are_unique_and_of_one_form() -> None:
    ids = {new_request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 24 and int(one, 16) for one in ids)
    request = make_exchange().request
    assert Exchange(request, received_at=0.0, id="given").id == "given"
    assert Exchange(request, received_at=0.0).id != Exchange(request, received_at=0.0).id


def test_callbacks_of_the_end_run_once_the_last_one_first() -> None:
    exchange = make_exchange()
    error = ConnectionResetError()
    calls: list[tuple[str, Exchange, BaseException | None]] = []
    exchange.on_finish(lambda *arguments: calls.append(("first", *arguments)))
    exchange.on_finish(lambda *arguments: calls.append(("second", *arguments)))
    assert exchange.finish(error) == []
    assert exchange.finish() == []
    assert calls == [("second", exchange, error), ("first", exchange, error)]


def test_a_callback_that_fails_keeps_none_of_the_others_from_running() -> None:
    exchange = make_exchange()
    calls: list[str] = []
    failure = ValueError("bad callback")

    def fail(*_: Any) -> None:
        raise failure

    exchange.on_finish(lambda *_: calls.append("first"))
    exchange.on_finish(fail)
    exchange.on_finish(lambda *_: calls.append("third"))
    assert exchange.finish() == [failure]
    assert calls == ["third", "first"]


def test_interim_responses_go_to_whoever_takes_them() -> None:
    request = make_exchange().request
    sent: list[tuple[int, Headers]] = []
    links = Headers.of([("Link", "</style.css>")])

    def take(status: int, headers: Headers) -> None:
        sent.append((status, headers))

    Exchange(request, received_at=0.0).send_interim(103, links)
    Exchange(request, received_at=0.0, send_interim=take).send_interim(103, links)
    assert sent == [(103, links)]


def test_a_request_by_itself() -> None:
    request = Request("GET", "/a", peer=Peer("192.0.2.1"))
    assert (request.query, request.host, request.authority, request.body) == (None, "", "", b"")
    assert (request.version, request.target, request.upgrade) == ((1, 1), "", None)
    assert request.headers == Headers()
    assert not request.expects_continue


def test_requests_and_responses_share_no_headers() -> None:
    for make in (lambda: Request("GET", "/", peer=Peer("192.0.2.1")), lambda: Response(200)):
        one, other = make(), make()
        one.headers.add("A", "1")
        assert "A" not in other.headers


def test_the_peer_is_the_socket_s_other_end_unless_a_proxy_says_otherwise() -> None:
    assert Peer("192.0.2.1").socket_address == "192.0.2.1"
    reported = Peer("192.0.2.1", socket_address="10.0.0.1", scheme="https")
    assert (reported.address, reported.socket_address) == ("192.0.2.1", "10.0.0.1")


class Abandonable(Body):
    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1

    def close(self) -> None:
        self.closed += 1


async def test_a_discarded_response_releases_body_and_tunnel() -> None:
    body, tunnel = Abandonable(), Abandonable()
    await Response(200, body=body).discard()
    await Response(101, tunnel=tunnel).discard()
    await Response(200, body=b"all here").discard()
    assert (body.closed, tunnel.closed) == (1, 1)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Peer("::1", 443, "https"), "Peer(https://::1:443)"),
        (lambda: make_exchange("PUT", "/a?token=secret").request, "<Request PUT /a>"),
        (lambda: Response(204), "<Response 204>"),
    ],
)
def test_a_repr_says_what_helps_and_no_secret(make: Callable[[], object], expected: str) -> None:
    assert repr(make()) == expected


def test_the_repr_of_an_exchange_has_its_id_and_nothing_that_it_holds() -> None:
    exchange = make_exchange("GET", "/a?token=secret")
    exchange[Key[str]("password")] = "secret"
    assert repr(exchange) == f"<Exchange {exchange.id} GET /a>"
