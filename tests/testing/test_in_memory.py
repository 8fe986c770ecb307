"""A gateway in memory: what of it is real, and what is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

import pytest
from pydantic import model_validator

from gatewayd import (
    ConfigError,
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    GatewayError,
    IterBody,
    Response,
    UpstreamReset,
)
from gatewayd.testing import FakeClock, Recorder, in_memory, read_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONFIG = """
pipeline.filters = ["request_id", "route_match", "balancer", "upstream"]
services.origin.instances = [{ url = "http://127.0.0.1:9" }]
routes = [
  { name = "item", path = "/items/{id}", service = "origin", timeout = 3 },
  { name = "old", path = "/old", redirect = { to = "/items" } },
]
"""


class Greeting(Filter[FilterConfig]):
    """Says hello instead of the upstream."""

    name = "greeting"

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return Response(200, body=b"hello")


class Fragile(Greeting):
    """Does not start."""

    async def start(self) -> None:
        raise ConnectionError("no redis")


class Asserting(Greeting):
    """Has settings that are refused without a reason."""

    class Config(FilterConfig):
        """Settings."""

        @model_validator(mode="after")
        def _check(self) -> Self:
            raise AssertionError


async def test_settings_that_are_refused_without_a_reason_are_an_error_that_says_so() -> None:
    config = CONFIG.replace('"balancer"', '"greeting", "balancer"')
    with pytest.raises(ConfigError, match=r"filters\.greeting: refused, with no reason given"):
        async with in_memory(config, filters=[Asserting]):
            pass


async def test_requests_are_normalised_and_routed() -> None:
    upstream = Recorder()
    async with in_memory(CONFIG, upstream=upstream) as gateway:
        response = await gateway.send("GET", "/x/../items//7?q=1")
    (exchange,) = upstream.exchanges
    assert response.status == 200
    assert (exchange.request.path, exchange.request.query) == ("/items/7", "q=1")
    assert exchange.params == {"id": "7"}


async def test_what_is_refused_before_the_pipeline_is_a_problem_too() -> None:
    async with in_memory(CONFIG) as gateway:
        response = await gateway.send("GET", "/items/a%2Fb")
    assert response.status == 400
    assert "code" in json.loads(await read_body(response))


@pytest.mark.parametrize(("target", "status"), [("/nowhere", 404), ("/old", 308)])
async def test_answers_of_the_gateway_s_own(target: str, status: int) -> None:
    async with in_memory(CONFIG) as gateway:
        assert (await gateway.send("GET", target)).status == status


async def test_upstream_errors_become_problems() -> None:
    upstream = Recorder(UpstreamReset("test", sent=True))
    async with in_memory(CONFIG, upstream=upstream) as gateway:
        response = await gateway.send("GET", "/items/1")
    assert response.status == 502
    assert response.headers.get("X-Request-Id")


async def test_bodies_go_both_ways() -> None:
    upstream = Recorder(Response(200, body=b"pong"))
    async with in_memory(CONFIG, upstream=upstream) as gateway:
        response = await gateway.send("POST", "/items/1", body=b"ping")
    assert (upstream.bodies, response.body) == ([b"ping"], b"pong")


async def test_time_is_the_test_s() -> None:
    clock, upstream = FakeClock(50), Recorder()
    async with in_memory(CONFIG, upstream=upstream, clock=clock) as gateway:
        await gateway.send("GET", "/items/1")
    assert upstream.exchanges[0].deadline == 53


async def test_callbacks_of_the_end_are_run() -> None:
    ended = []

    def upstream(exchange: Exchange) -> Response:
        exchange.on_finish(lambda exchange, error: ended.append((exchange, error)))
        return Response(200)

    recorder = Recorder(upstream)
    async with in_memory(CONFIG, upstream=recorder) as gateway:
        await gateway.send("GET", "/items/1")
    assert ended == [(recorder.exchanges[0], None)]


async def test_what_breaks_a_response_off_is_told_at_the_end() -> None:
    ended = []

    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError("origin left")

    def upstream(exchange: Exchange) -> Response:
        exchange.on_finish(lambda exchange, error: ended.append((exchange.sent, error)))
        return Response(200, body=IterBody(broken()))

    async with in_memory(CONFIG, upstream=Recorder(upstream)) as gateway:
        with pytest.raises(ConnectionResetError) as caught:
            await gateway.send("GET", "/items/1")
    assert ended == [(0, caught.value)]


@pytest.mark.parametrize(("method", "sent"), [("GET", b"four"), ("HEAD", b"")])
async def test_what_is_sent_is_counted(method: str, sent: bytes) -> None:
    upstream = Recorder(Response(200, body=b"four"))
    async with in_memory(CONFIG, upstream=upstream) as gateway:
        response = await gateway.send(method, "/items/1")
    assert (response.body, upstream.exchanges[0].sent) == (sent, len(sent))


async def test_filters_of_a_test_stand_beside_the_installed_ones() -> None:
    config = CONFIG.replace('"balancer"', '"greeting", "balancer"')
    async with in_memory(config, filters=[Greeting]) as gateway:
        assert (await gateway.send("GET", "/items/1")).body == b"hello"


async def test_a_bad_configuration_says_why() -> None:
    with pytest.raises(ConfigError, match="greeting"):
        async with in_memory(CONFIG.replace('"balancer"', '"greeting"')):
            pass


async def test_a_filter_that_does_not_start_says_why() -> None:
    config = CONFIG.replace('"balancer"', '"greeting", "balancer"')
    with pytest.raises(GatewayError, match="no redis"):
        async with in_memory(config, filters=[Fragile]):
            pass
