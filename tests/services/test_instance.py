from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import Headers, Instance, InstanceSpec, Timeouts
from gatewayd.testing import read_body
from gatewayd.timers import NEVER, Sweeper
from tests.support.raw import raw_origin
from tests.support.upstream import Attempts, make_instance, make_pool, nothing, stream

if TYPE_CHECKING:
    from gatewayd import Body

HOST = Headers.of([("Host", "shop.example")])


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


@pytest.mark.parametrize(
    ("method", "body", "settings", "expected"),
    [
        ("GET", b"", {}, b""),
        ("HEAD", b"", {}, b""),
        ("DELETE", b"", {}, b""),
        ("POST", b"", {}, b"Content-Length: 0\r\n"),
        ("PUT", b"", {}, b"Content-Length: 0\r\n"),
        ("PATCH", b"", {}, b"Content-Length: 0\r\n"),
        ("GET", b"hello", {}, b"Content-Length: 5\r\n"),
        ("POST", b"hello", {"expects_continue": True}, b"Content-Length: 5\r\n"),
        ("POST", stream(length=7), {}, b"Content-Length: 7\r\n"),
        ("POST", stream(), {}, b"Transfer-Encoding: chunked\r\n"),
        (
            "POST",
            stream(length=7),
            {"expects_continue": True},
            b"Content-Length: 7\r\nExpect: 100-continue\r\n",
        ),
        ("GET", b"", {"upgrade": "websocket"}, b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        ("GET", b"", {"extra_fields": b"A: b\r\n"}, b"A: b\r\n"),
    ],
    ids=str,
)
async def test_the_head_frames_the_body_and_says_what_is_asked_for(
    attempts: Attempts, method: str, body: bytes | Body, settings: dict[str, Any], expected: bytes
) -> None:
    response = await make_instance(attempts).send(method, "/a?b", HOST, body, **settings)
    assert response.status == 200
    line = f"{method} /a?b HTTP/1.1\r\n".encode()
    assert attempts.head == line + b"Host: shop.example\r\n" + expected + b"\r\n"
    assert attempts.all[0].body is body
    assert attempts.all[0].chunked == (b"chunked" in expected)
    assert attempts.all[0].expects_continue == (b"Expect" in expected)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/a\nX: y", "/a\rb", "/?q=a b"])
async def test_a_target_that_would_be_more_than_one_is_not_sent(
    target: str, attempts: Attempts
) -> None:
    with pytest.raises(ValueError, match="not encoded"):
        await make_instance(attempts).send("GET", target, HOST)
    assert not attempts.all


async def test_the_attempt_has_the_limits_of_the_exchange(attempts: Attempts) -> None:
    instance = make_instance(attempts)
    await instance.send("GET", "/", HOST)
    assert attempts.all[0].timeouts == Timeouts()
    assert attempts.all[0].deadline == NEVER
    attempts.all[0].on_interim(103, Headers())
    times = Timeouts(first_byte=1.0)
    await instance.send("GET", "/", HOST, timeouts=times, deadline=7.0, on_interim=nothing)
    assert attempts.all[1].timeouts is times
    assert attempts.all[1].deadline == 7.0
    assert attempts.all[1].on_interim is nothing


async def test_bytes_that_are_no_text_stay_what_they_are(attempts: Attempts) -> None:
    headers = Headers.of_lines([(b"X", b"caf\xe9\xff")])
    await make_instance(attempts).send("GET", "/caf\xe9", headers)
    assert attempts.head == b"GET /caf\xe9 HTTP/1.1\r\nX: caf\xe9\xff\r\n\r\n"


@pytest.mark.parametrize(
    ("spec", "available"),
    [
        ({}, True),
        ({"healthy": False}, False),
        ({"weight": 0}, False),
        ({"weight": 5, "zone": "az1"}, True),
    ],
    ids=str,
)
def test_what_may_be_picked(attempts: Attempts, spec: dict[str, Any], available: bool) -> None:
    assert make_instance(attempts, **spec).available == available


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://origin.test", "origin.test"),
        ("https://origin.test:8443", "origin.test:8443"),
        ("http://[::1]:80", "[::1]:80"),
    ],
)
def test_an_instance_is_known_by_its_url(attempts: Attempts, url: str, authority: str) -> None:
    instance = make_instance(attempts, url=url)
    assert (instance.url, instance.authority) == (url, authority)
    assert repr(instance) == f"<instance {url} of orders>"
    assert instance.active == attempts.active


async def test_a_request_reaches_an_origin_and_its_answer_comes_back() -> None:
    sweeper = Sweeper()
    async with raw_origin() as origin:
        pool = make_pool(sweeper, origin.url)
        instance = Instance("orders", InstanceSpec(origin.url), pool)
        body = stream(b"hel", b"lo")
        response = asyncio.ensure_future(instance.send("POST", "/", HOST, body))
        wire = await origin.accept()
        assert await wire.read_head() == (
            b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert await wire.read_until(b"0\r\n\r\n") == b"5\r\nhello\r\n0\r\n\r\n"
        assert instance.active == 1
        wire.send(b"HTTP/1.1 201 Created\r\nLocation: /1\r\nContent-Length: 2\r\n\r\nok")
        message = await response
        assert (message.status, message.headers.get("Location")) == (201, "/1")
        assert await read_body(message) == b"ok"
        assert instance.active == 0
        pool.close()
    sweeper.close()
