"""conf/: each route of each configuration that gatewayd comes with does what a newcomer expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from gatewayd import Exchange, Response
from gatewayd.config.load import load
from gatewayd.config.reference import built_in_plugins
from gatewayd.testing import in_memory
from tests.support.asking import SECRET, ask_for, on_this_machine, send
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.config.schema import RouteConfig

CONF = REPOSITORY / "conf"
FILES = [CONF / "gateway.toml", *sorted(CONF.glob("examples/**/*.toml"))]


class Shipped(NamedTuple):
    """A route, and the file that has it."""

    file: Path
    route: RouteConfig

    def __str__(self) -> str:
        return f"{self.file.relative_to(CONF)}-{self.route.name}"


ROUTES = [
    Shipped(file, route)
    for file in FILES
    for route in load(
        file, environ={"ADMIN_TOKEN": SECRET}, plugins=built_in_plugins()
    ).config.routes
]


async def name_of_route(exchange: Exchange) -> Response:
    """Answer in an instance's place."""
    assert exchange.route is not None
    return Response(200, body=exchange.route.name.encode())


@pytest.mark.parametrize("shipped", ROUTES, ids=str)
async def test_a_request_is_answered_by_its_route(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # for the store of API keys
    file, route = shipped
    text = on_this_machine(file.read_text(), tmp_path, file.parent)
    async with in_memory(text, upstream=name_of_route) as gateway:
        response = await send(gateway, ask_for(route))
    if route.redirect is not None:
        assert response.status in (301, 302, 307, 308)
    elif route.filters.get("rbac"):  # it asks for a permission
        assert response.status == 401
    else:
        assert (response.status, response.body) == (200, route.name.encode())


@pytest.mark.parametrize(
    ("host", "target", "location"),
    [
        ("example.org", "/", "https://example.org/"),
        ("example.org", "/cart/7?a=b&c", "https://example.org/cart/7?a=b&c"),
        ("www.example.org", "/cart", "https://example.org/cart"),
        ("example.net", "/cart?a", "https://example.net/cart?a"),
    ],
)
async def test_http_is_sent_to_https(host: str, target: str, location: str) -> None:
    text = (CONF / "examples" / "redirect-to-https.toml").read_text()
    async with in_memory(text) as gateway:
        response = await gateway.send("GET", target, host=host)
    assert (response.status, response.headers.get("Location")) == (301, location)


async def test_nobody_is_sent_to_a_host_that_is_not_configured() -> None:
    text = (CONF / "examples" / "redirect-to-https.toml").read_text()
    async with in_memory(text) as gateway:
        response = await gateway.send("GET", "/", host="evil.example")
    assert response.status == 404
