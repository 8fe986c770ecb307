"""auth in pipelines: before the match and behind it, over reloads, and beside cors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import ConfigError
from gatewayd_filters.auth import Auth
from tests.support.authentication import plugins_with_methods
from tests.support.echo_origin import EchoOrigin, echo_origin
from tests.support.in_process import InProcessGateway, serving
from tests.support.raw import Answer, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONFIG = """
[pipeline]
filters = [{filters}, "balancer", "upstream"]
[filters.auth]
methods = ["token"]
[services.origin]
instances = [{{ url = "{url}" }}]
[[routes]]
name = "orders"
path = "/orders"
service = "origin"
{more}
"""
OPEN = """
[[routes]]
name = "open"
path = "/open"
service = "origin"
auth_required = false
"""
GOOD = b"X-Token: good-jane\r\n"


@pytest.fixture
async def origin() -> AsyncIterator[EchoOrigin]:
    async with echo_origin() as origin:
        yield origin


async def ask(gateway: InProcessGateway, line: str, fields: bytes = b"") -> Answer:
    wire = await Wire.connect(gateway.port)
    try:
        return await wire.ask(b"%s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (line.encode(), fields))
    finally:
        wire.close()


async def test_before_the_match_it_judges_every_request(origin: EchoOrigin, tmp_path: Path) -> None:
    filters = '"auth", "route_match"'
    config = CONFIG.format(filters=filters, url=origin.url, more="")
    async with serving(config, tmp_path, plugins_with_methods()) as gateway:
        assert (await ask(gateway, "GET /orders")).status == 401
        assert (await ask(gateway, "GET /nowhere")).status == 401
        assert (await ask(gateway, "GET /nowhere", GOOD)).status == 404
        answer = await ask(gateway, "GET /orders", GOOD)
    assert answer.status == 200
    assert b"\r\nX-User-Id: good-jane\r\n" in answer.body


async def test_before_the_match_a_route_cannot_say_otherwise(
    origin: EchoOrigin, tmp_path: Path
) -> None:
    filters = '"auth", "route_match"'
    config = CONFIG.format(filters=filters, url=origin.url, more=OPEN)
    with pytest.raises(ConfigError, match="runs before a route is known"):
        async with serving(config, tmp_path, plugins_with_methods()):
            pass


async def test_a_preflight_needs_no_credential(origin: EchoOrigin, tmp_path: Path) -> None:
    cors = '[filters.cors]\nallow_origins = ["https://app.test"]\nallow_headers = ["X-Token"]\n'
    fields = b"Origin: https://app.test\r\nAccess-Control-Request-Method: GET\r\n"
    config = CONFIG.format(filters='"route_match", "cors", "auth"', url=origin.url, more=cors)
    async with serving(config, tmp_path, plugins_with_methods()) as gateway:
        answer = await ask(gateway, "OPTIONS /orders", fields)
        assert (answer.status, origin.requests) == (204, 0)
        assert (await ask(gateway, "GET /orders", fields)).status == 401  # it is no way in
        no_preflight = b"Origin: https://app.test\r\n"
        assert (await ask(gateway, "OPTIONS /orders", no_preflight)).status == 401


async def test_routes_of_a_generation_share_methods_and_generations_do_not(
    origin: EchoOrigin, tmp_path: Path
) -> None:
    config = CONFIG.format(filters='"route_match", "auth"', url=origin.url, more=OPEN)
    async with serving(config, tmp_path, plugins_with_methods()) as gateway:
        first = methods(gateway)
        assert (len(first), {one.running for one in first}) == (1, {1})  # of two routes
        await gateway.adopt(config.replace("/orders", "/bills"))
        assert (await ask(gateway, "GET /bills", GOOD)).status == 200
        second = methods(gateway)
        assert not first & second
        assert {one.running for one in second} == {1}
    assert {one.running for one in first | second} == {0}


def methods(gateway: InProcessGateway) -> set[Any]:
    """Return the methods of the running generation."""
    filters = gateway.generations.current.pipeline.filters
    return {source[0] for one in filters if isinstance(one, Auth) for source in one._sources}
