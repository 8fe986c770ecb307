"""No client can tell the upstream who it is, on any route, in any spelling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewayd.config.schema import ServerConfig
from gatewayd.principal import IDENTITY_FIELDS
from tests.support.authentication import plugins_with_methods
from tests.support.echo_origin import EchoOrigin, echo_origin
from tests.support.in_process import InProcessGateway, serving
from tests.support.raw import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONFIG = """
[server]
identity_headers = {identity}

[pipeline]
filters = ["request_id", "route_match", "auth", "balancer", "upstream"]

[filters.auth]
methods = ["token"]

[services.origin]
instances = [{{ url = "{url}" }}]

[[routes]]
name = "closed"
path = "/closed"
service = "origin"
auth_required = true

[[routes]]
name = "open"
path = "/open"
service = "origin"
auth_required = false

[[routes]]
name = "silent"
path = "/silent"
service = "origin"
filters.auth.forward_headers = false

[[routes]]
name = "without"
path = "/without"
service = "origin"
filters.auth = false
"""
NAMES = sorted(name.decode() for name in IDENTITY_FIELDS | {b"x-principal"})
ROUTES = ["/closed", "/open", "/silent", "/without"]
MARK = b"spoofed"


@pytest.fixture
async def origin() -> AsyncIterator[EchoOrigin]:
    async with echo_origin() as origin:
        yield origin


@pytest.fixture(params=["default", "none"])
async def gateway(
    request: pytest.FixtureRequest, origin: EchoOrigin, tmp_path: Path
) -> AsyncIterator[InProcessGateway]:
    """Run a gateway, also one whose operator has taken all names out of the list."""
    default = list(ServerConfig().identity_headers)
    identity = default if request.param == "default" else ["X-Principal"]
    config = CONFIG.format(url=origin.url, identity=identity)
    async with serving(config, tmp_path, plugins_with_methods()) as gateway:
        yield gateway


def spellings(name: str) -> list[bytes]:
    spelt = [name, name.upper(), name.title(), name.replace("-", "_"), name.replace("-", "_", 1)]
    return [one.encode() for one in dict.fromkeys(spelt)]


async def ask(wire: Wire, path: str, lines: bytes, tail: bytes = b"\r\n") -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nX-Token: good-jane\r\n" % path.encode()
    answer = await wire.ask(head + lines + tail, "POST")
    assert answer.status == 200, answer
    return answer.body


@pytest.mark.parametrize("path", ROUTES)
async def test_no_field_of_a_client_reaches_the_upstream(
    gateway: InProcessGateway, path: str
) -> None:
    wire = await Wire.connect(gateway.port)
    for name in NAMES:
        for spelling in spellings(name):
            lines = b"%s: %s\r\n" % (spelling, MARK)
            assert MARK not in await ask(wire, path, lines), spelling
            assert MARK not in await ask(wire, path, lines * 2), spelling
    wire.close()


@pytest.mark.parametrize("path", ["/open", "/without"])
async def test_nor_of_an_anonymous_one(gateway: InProcessGateway, path: str) -> None:
    wire = await Wire.connect(gateway.port)
    lines = b"".join(b"%s: %s\r\n" % (name, MARK) for one in NAMES for name in spellings(one))
    answer = await wire.ask(b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (path.encode(), lines))
    assert answer.status == 200
    assert MARK not in answer.body
    assert b"x-user-id" not in answer.body.lower()
    wire.close()


@pytest.mark.parametrize("path", ROUTES)
async def test_no_trailer_of_a_client_does_either(gateway: InProcessGateway, path: str) -> None:
    wire = await Wire.connect(gateway.port)
    for name in NAMES:
        chunked = b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Fine: 1\r\n%s: %s\r\n\r\n"
        body = await ask(wire, path, b"", chunked % (name.encode(), MARK))
        assert MARK not in body, name
    wire.close()


async def test_connection_cannot_take_away_what_the_gateway_tells(
    gateway: InProcessGateway,
) -> None:
    wire = await Wire.connect(gateway.port)
    lines = b"Connection: X-User-Id, X-User-Roles, X-Auth-Method\r\nX-User-Id: %s\r\n" % MARK
    body = await ask(wire, "/closed", lines)
    assert MARK not in body
    assert b"\r\nX-User-Id: good-jane\r\n" in body
    assert b"\r\nX-User-Roles: reader\r\n" in body
    wire.close()


async def test_the_upstream_is_told_once(gateway: InProcessGateway) -> None:
    wire = await Wire.connect(gateway.port)
    lines = b"".join(b"%s: %s\r\n" % (name.encode(), MARK) for name in NAMES)
    for _ in range(2):  # the second time from what the connection remembers
        body = (await ask(wire, "/closed", lines)).lower()
        assert body.count(b"\r\nx-user-id: good-jane\r\n") == body.count(b"x-user-id") == 1
        assert b"x-token" not in body
    wire.close()
