from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gatewayd import (
    Context,
    Exchange,
    Headers,
    Peer,
    Reject,
    Timeouts,
    Trace,
    new_trace,
)
from gatewayd.testing import Recorder, contract, make_exchange, running
from gatewayd_filters.upstream import Upstream, UpstreamConfig
from tests.support.routing import make_route
from tests.support.upstream import Attempts, make_instance, stream

if TYPE_CHECKING:
    from collections.abc import Mapping

CLIENT = Peer("192.0.2.1", 1234)
BEHIND_PROXY = Peer("198.51.100.7", 0, "https", trusted=True, socket_address="10.0.0.1")
PLAIN: Mapping[str, Any] = {"forwarded_headers": "off", "via": ""}


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


async def send(
    attempts: Attempts,
    exchange: Exchange,
    settings: Mapping[str, Any] = PLAIN,
    route: Mapping[str, Any] | None = None,
    params: Mapping[str, str] | None = None,
) -> list[str]:
    """Send the exchange's request; return the head that reaches the instance, line by line."""
    exchange.instance = make_instance(attempts)
    exchange.route = make_route(**(route or {}))
    if params is not None:
        exchange.params = params
    async with running(Upstream, settings) as upstream:
        response = await upstream(exchange, Recorder())
    assert response.status == 200
    *lines, empty, end = attempts.head.decode("latin-1").split("\r\n")
    assert (empty, end) == ("", "")
    return lines


async def test_contract(attempts: Attempts) -> None:
    values: dict[Context, Any] = {"instance": make_instance(attempts), "route": make_route()}
    await contract(Upstream, values=values)


async def test_a_request_goes_on_as_it_is(attempts: Attempts) -> None:
    body = stream(length=5)
    headers = [("X-A", "1"), ("x-a", "2"), ("B", "caf\xe9")]
    exchange = make_exchange("POST", "/a%20b?c=%2F&d", headers=headers, body=body)
    exchange.deadline = 1234.0
    assert await send(attempts, exchange) == [
        "POST /a%20b?c=%2F&d HTTP/1.1",
        "Host: gateway.example",
        "X-A: 1",
        "x-a: 2",
        "B: caf\xe9",
        "Content-Length: 5",
    ]
    assert attempts.all[0].body is body
    assert attempts.all[0].deadline == 1234.0
    assert attempts.all[0].on_interim == exchange.send_interim


async def test_tells_the_instance_of_a_trace_that_begins_here(attempts: Attempts) -> None:
    exchange = make_exchange()
    trace = exchange.trace = new_trace()
    assert f"traceparent: {trace.traceparent.decode()}" in await send(attempts, exchange)


async def test_a_trace_that_the_request_tells_is_not_told_twice(attempts: Attempts) -> None:
    exchange = make_exchange(headers={"traceparent": "of the caller"})
    exchange.trace = Trace("1" * 32, "2" * 16, False)
    lines = await send(attempts, exchange)
    assert [line for line in lines if "traceparent" in line] == ["traceparent: of the caller"]


@pytest.mark.parametrize("target", ["/a", "/a?", "/a?b=c", "/a??", "*"])
async def test_an_empty_query_is_not_no_query(attempts: Attempts, target: str) -> None:
    lines = await send(attempts, make_exchange("GET", target))
    assert lines[0] == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize(
    ("peer", "headers", "settings", "expected"),
    [
        (
            CLIENT,
            [],
            {},
            [
                "X-Forwarded-For: 192.0.2.1",
                "X-Forwarded-Proto: http",
                "X-Forwarded-Host: gateway.example:81",
                "X-Real-IP: 192.0.2.1",
                "Via: 1.1 gatewayd",
            ],
        ),
        (
            BEHIND_PROXY,
            [
                ("X-Forwarded-For", "6.6.6.6, 198.51.100.7"),
                ("X-Forwarded-Host", "shop.example"),
                ("X-Real-IP", "6.6.6.6"),
                ("X-Forwarded-Proto", "ftp"),
                ("Via", "1.0 front"),
                ("Forwarded", "for=1.2.3.4"),
            ],
            {},
            [
                "Forwarded: for=1.2.3.4",
                "X-Forwarded-For: 6.6.6.6, 198.51.100.7, 10.0.0.1",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: shop.example",
                "X-Real-IP: 198.51.100.7",
                "Via: 1.0 front, 1.1 gatewayd",
            ],
        ),
        (
            CLIENT,
            [],
            {"forwarded_headers": "forwarded", "via": ""},
            ['Forwarded: for=192.0.2.1;host="gateway.example:81";proto=http'],
        ),
        (
            BEHIND_PROXY,
            [("Forwarded", "for=1.2.3.4"), ("X-Forwarded-For", "1.2.3.4")],
            {"forwarded_headers": "forwarded", "via": ""},
            [
                "X-Forwarded-For: 1.2.3.4",
                'Forwarded: for=1.2.3.4, for=10.0.0.1;host="gateway.example:81";proto=https',
            ],
        ),
        (
            Peer("2001:db8::1"),
            [],
            {"forwarded_headers": "both", "via": ""},
            [
                "X-Forwarded-For: 2001:db8::1",
                "X-Forwarded-Proto: http",
                "X-Forwarded-Host: gateway.example:81",
                "X-Real-IP: 2001:db8::1",
                'Forwarded: for="[2001:db8::1]";host="gateway.example:81";proto=http',
            ],
        ),
        (CLIENT, [], {"forwarded_headers": "off", "via": "edge"}, ["Via: 1.1 edge"]),
        (CLIENT, [("Via", "1.0 a")], PLAIN, ["Via: 1.0 a"]),
        (BEHIND_PROXY, [("X-Forwarded-For", "1.2.3.4")], PLAIN, ["X-Forwarded-For: 1.2.3.4"]),
    ],
)
async def test_the_instance_learns_who_the_client_is(
    attempts: Attempts,
    peer: Peer,
    headers: list[tuple[str, str]],
    settings: Mapping[str, Any],
    expected: list[str],
) -> None:
    exchange = make_exchange(peer=peer, headers=headers, host="gateway.example:81")
    lines = await send(attempts, exchange, settings)
    assert lines == ["GET / HTTP/1.1", "Host: gateway.example:81", *expected]


async def test_the_version_in_via_is_the_client_s(attempts: Attempts) -> None:
    exchange = make_exchange()
    exchange.request.version = (1, 0)
    assert (await send(attempts, exchange, {}))[-1] == "Via: 1.0 gatewayd"


async def test_what_is_remembered_of_one_client_is_not_told_of_another(attempts: Attempts) -> None:
    async with running(Upstream, {"via": ""}) as upstream:
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            exchange = make_exchange(peer=address)
            exchange.instance, exchange.route = make_instance(attempts), make_route()
            await upstream(exchange, Recorder())
            assert f"X-Real-IP: {address}\r\n".encode() in attempts.head


@pytest.mark.parametrize(
    ("headers", "remembered"),
    [
        ([{}, {}], 1),
        ([{"Via": "1.1 a"}, {"Via": "1.1 a"}], 1),
        ([{"Via": "1.1 a"}, {"Via": "1.1 b"}], 2),
        ([{"Via": "1.1 " + "a" * 252}], 1),
        ([{"Via": "1.1 " + "a" * 253}], 0),
        ([{"X-Forwarded-For": "1.2.3.4, " * 20, "Via": "1.1 " + "a" * 80}], 0),
        # What does not come back in a line is no part of the key.
        ([{"X-Left": "1"}, {"X-Left": "2"}, {"X-Left": "9" * 300}], 1),
        ([{"X-Real-IP": "1.2.3.4"}, {"X-Real-IP": "9" * 300}], 1),
    ],
)
async def test_what_is_remembered_is_bounded_in_size(
    attempts: Attempts, headers: list[dict[str, str]], remembered: int
) -> None:
    async with running(Upstream, {"deadline_header": "X-Left"}) as upstream:
        for fields in headers:
            exchange = make_exchange(headers=fields, peer=BEHIND_PROXY)
            exchange.instance, exchange.route = make_instance(attempts), make_route()
            await upstream(exchange, Recorder())
            via = f"{fields['Via']}, 1.1 gatewayd" if "Via" in fields else "1.1 gatewayd"
            assert f"\r\nVia: {via}\r\n".encode() in attempts.head
        assert upstream._lines.cache_info().currsize == remembered  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "rewrite", "host", "expected"),
    [
        ({}, None, "shop.example:81", "shop.example:81"),
        ({"host": "instance"}, None, "shop.example", "origin.test:8080"),
        ({}, {"host": "other.example"}, "shop.example", "other.example"),
        ({"host": "instance"}, {"host": "other.example"}, "shop.example", "other.example"),
        ({"host": "instance"}, {"prefix": "/x"}, "shop.example", "origin.test:8080"),
        ({}, {"prefix": "/x"}, "shop.example", "shop.example"),
    ],
    ids=str,
)
async def test_which_host_the_instance_is_asked_for(
    attempts: Attempts,
    settings: dict[str, Any],
    rewrite: dict[str, Any] | None,
    host: str,
    expected: str,
) -> None:
    route = {} if rewrite is None else {"rewrite": rewrite}
    exchange = make_exchange(host=host)
    lines = await send(attempts, exchange, {**PLAIN, **settings}, route)
    assert lines[1:] == [f"Host: {expected}"]


async def test_an_http_1_0_client_without_host_gets_the_instance_s(attempts: Attempts) -> None:
    exchange = make_exchange()
    exchange.request.headers = Headers()
    exchange.request.version = (1, 0)
    assert (await send(attempts, exchange))[1:] == ["Host: origin.test:8080"]


@pytest.mark.parametrize(
    ("path", "rewrite", "target", "params", "expected"),
    [
        ("/api", {"strip_prefix": "/api"}, "/api/a%2Fb?c", {}, "/a%2Fb?c"),
        ("/old", {"strip_prefix": "/old", "prefix": "/new"}, "/old/x", {}, "/new/x"),
        ("/u/{name}", {"path": "/users/{name}"}, "/u/x?y=1", {"name": "x"}, "/users/x?y=1"),
        (
            "/u/{name}",
            {"path": "/users/{name}"},
            "/u/x",
            {"name": "a b/c?d%e\xe9"},
            "/users/a%20b%2Fc%3Fd%25e%C3%A9",
        ),
    ],
)
async def test_the_route_rewrites_the_path(
    attempts: Attempts,
    path: str,
    rewrite: dict[str, Any],
    target: str,
    params: dict[str, str],
    expected: str,
) -> None:
    exchange = make_exchange("GET", target)
    lines = await send(attempts, exchange, route={"path": path, "rewrite": rewrite}, params=params)
    assert lines[0] == f"GET {expected} HTTP/1.1"
    assert exchange.request.path == target.partition("?")[0]


async def test_a_path_parameter_cannot_end_the_request_line(attempts: Attempts) -> None:
    route = {"path": "/u/{name}", "rewrite": {"path": "/users/{name}"}}
    params = {"name": "x HTTP/1.1\r\nX-Evil: 1\r\n\r\n"}
    try:
        lines = await send(attempts, make_exchange("GET", "/u/x"), route=route, params=params)
    except Reject as refusal:
        assert refusal.status == 400  # noqa: PT017  # either is right, each with its own check
        assert not attempts.all
    else:
        assert lines[1:] == ["Host: gateway.example"]


async def test_another_attempt_starts_from_the_same_request(attempts: Attempts) -> None:
    headers = [("Via", "1.0 a"), ("X-Forwarded-For", "1.2.3.4")]
    exchange = make_exchange(peer=BEHIND_PROXY, headers=headers)
    before = list(exchange.request.headers)
    first = await send(attempts, exchange, {"host": "instance"})
    assert await send(attempts, exchange, {"host": "instance"}) == first
    assert list(exchange.request.headers) == before


@pytest.mark.parametrize(
    ("settings", "asked", "upgrade"),
    [
        ({}, "websocket", "websocket"),
        ({}, "h2c", None),
        ({}, None, None),
        ({"upgrades": []}, "websocket", None),
        ({"upgrades": ["TLS/1.2"]}, "tls/1.2", "tls/1.2"),
    ],
    ids=str,
)
async def test_only_protocols_that_are_allowed_are_asked_for(
    attempts: Attempts, settings: dict[str, Any], asked: str | None, upgrade: str | None
) -> None:
    exchange = make_exchange()
    exchange.request.upgrade = asked
    lines = await send(attempts, exchange, {**PLAIN, **settings})
    added = [] if upgrade is None else ["Connection: Upgrade", f"Upgrade: {upgrade}"]
    assert lines[2:] == added
    assert attempts.all[0].upgrade == upgrade


async def test_an_expectation_goes_on_with_a_body_that_is_still_to_come(
    attempts: Attempts,
) -> None:
    exchange = make_exchange("POST", body=stream(length=5))
    exchange.request.expects_continue = True
    assert (await send(attempts, exchange))[2:] == ["Content-Length: 5", "Expect: 100-continue"]


async def test_the_times_are_the_configuration_s(attempts: Attempts) -> None:
    await send(attempts, make_exchange(), {
        "first_byte_timeout": 1, "between_bytes_timeout": 2, "write_timeout": 3,
        "expect_timeout": 4, "tunnel_idle_timeout": 5,
    })  # fmt: skip
    expected = Timeouts(first_byte=1, between_bytes=2, write=3, expect=4, tunnel_idle=5)
    assert attempts.all[0].timeouts == expected


@pytest.mark.parametrize("name", ["two words", "a,b", "caf\xe9", "a\r\nb"])
def test_via_is_a_token(name: str) -> None:
    with pytest.raises(ValidationError, match="via"):
        UpstreamConfig(via=name)


@pytest.mark.parametrize(
    ("method", "left", "goes_on"),
    [("OPTIONS", "3", "2"), ("OPTIONS", "x", "x"), ("GET", "0", "0")],
)
async def test_max_forwards_is_counted_down(
    attempts: Attempts, method: str, left: str, goes_on: str
) -> None:
    exchange = make_exchange(method, headers={"Max-Forwards": left})
    assert f"Max-Forwards: {goes_on}" in await send(attempts, exchange)


async def test_another_attempt_goes_no_further(attempts: Attempts) -> None:
    exchange = make_exchange("OPTIONS", headers={"Max-Forwards": "1"})
    for _ in range(2):
        assert "Max-Forwards: 0" in await send(attempts, exchange)


async def test_the_last_forwarder_answers_itself(attempts: Attempts) -> None:
    exchange = make_exchange("OPTIONS", headers={"Max-Forwards": "0"})
    exchange.instance, exchange.route = make_instance(attempts), make_route()
    async with running(Upstream) as upstream:
        assert (await upstream(exchange, Recorder())).status == 204
    assert not attempts.all
