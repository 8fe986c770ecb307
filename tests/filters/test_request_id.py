"""request_id: whose id an exchange carries."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatewayd import Peer, Response
from gatewayd.errors import Reject
from gatewayd.pipeline import link
from gatewayd.testing import Recorder, make_exchange, running
from gatewayd_filters.request_id import RequestId, RequestIdConfig

PROXY = Peer("198.51.100.7", trusted=True)
CLIENT = Peer("198.51.100.7")


@pytest.mark.parametrize(
    ("trust", "peer", "taken"),
    [
        ("trusted_peers", PROXY, True),
        ("trusted_peers", CLIENT, False),
        ("never", PROXY, False),
        ("always", CLIENT, True),
    ],
)
async def test_takes_over_the_id_of_whom_it_trusts(trust: str, peer: Peer, taken: bool) -> None:
    exchange = make_exchange(headers={"x-request-id": "theirs-1"}, peer=peer)
    ours = exchange.id
    async with running(RequestId, {"trust": trust}) as request_id:
        await request_id(exchange, Recorder())
    assert exchange.id == ("theirs-1" if taken else ours)


@pytest.mark.parametrize(
    "sent",
    [
        "0190163d-8694-739b-aea5-966c26f8ad91",
        "Root=1-67891233-abcdef012345678912345678",
        "x" * 128,
    ],
)
async def test_takes_over_an_acceptable_id(sent: str) -> None:
    exchange = make_exchange(headers={"X-Request-Id": sent}, peer=PROXY)
    async with running(RequestId) as request_id:
        await request_id(exchange, Recorder())
    assert exchange.id == sent


@pytest.mark.parametrize(
    "sent", ["", "x" * 129, "a b", 'a"b', "a/b", "-rf", "a;b", "{a}", "caf\xe9", "a,b"]
)
async def test_replaces_an_unacceptable_id(sent: str) -> None:
    exchange = make_exchange(headers={"X-Request-Id": sent}, peer=PROXY)
    ours = exchange.id
    async with running(RequestId) as request_id:
        await request_id(exchange, Recorder())
    assert exchange.id == ours


async def test_replaces_an_id_that_was_sent_twice() -> None:
    headers = [("X-Request-Id", "one"), ("X-Request-Id", "two")]
    exchange = make_exchange(headers=headers, peer=PROXY)
    upstream = Recorder()
    async with running(RequestId) as request_id:
        await request_id(exchange, upstream)
    assert upstream.request.headers.get_all("X-Request-Id") == [exchange.id]


async def test_puts_the_id_on_request_and_response() -> None:
    exchange = make_exchange(headers={"X-Correlation-Id": "a-client-s"})
    upstream = Recorder()
    async with running(RequestId, {"header": "X-Correlation-Id"}) as request_id:
        response = await request_id(exchange, upstream)
    assert upstream.request.headers.get_all("X-Correlation-Id") == [exchange.id]
    assert response.headers.get_all("X-Correlation-Id") == [exchange.id]


async def test_replaces_the_id_that_the_upstream_answers_with() -> None:
    answer = Response(200)
    answer.headers.add("x-request-id", "upstream")
    exchange = make_exchange()
    async with running(RequestId) as request_id:
        response = await request_id(exchange, Recorder(answer))
    assert response.headers.get_all("X-Request-Id") == [exchange.id]


async def test_keeps_the_id_off_the_response_if_told_so() -> None:
    async with running(RequestId, {"response": False}) as request_id:
        response = await request_id(make_exchange(), Recorder())
    assert "X-Request-Id" not in response.headers


async def test_refusals_carry_the_id() -> None:
    exchange = make_exchange()
    async with running(RequestId) as request_id:
        response = await link([request_id], Recorder(Reject(404, "no_route")))(exchange)
    assert (response.status, response.headers.get("X-Request-Id")) == (404, exchange.id)


@pytest.mark.parametrize("header", ["Connection", "Content-Length", "X Y", ""])
def test_refuses_fields_that_cannot_carry_it(header: str) -> None:
    with pytest.raises(ValidationError):
        RequestIdConfig.model_validate({"header": header})
