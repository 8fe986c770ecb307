"""route_match: what it leaves on the exchange, and what it answers itself."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd import Exchange, Reject, Response, Service
from gatewayd.config.schema import ServiceConfig
from gatewayd.testing import Recorder, make_exchange, make_gateway, running
from gatewayd_filters.route_match import RouteMatch

ORIGIN = Service("origin", ServiceConfig.model_validate({}))
PREFLIGHT_OF_PUT = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}


async def match(exchange: Exchange, *routes: dict[str, Any]) -> tuple[Response, Recorder]:
    """Run an exchange through ``route_match`` with these routes."""
    goes_to = {"service": "origin"}
    gateway = make_gateway(
        routes=[
            {"name": f"r{i}", **({} if "redirect" in route else goes_to), **route}
            for i, route in enumerate(routes)
        ],
        services={"origin": ORIGIN},
    )
    upstream = Recorder()
    async with running(RouteMatch, gateway=gateway) as route_match:
        return await route_match(exchange, upstream), upstream


async def refusal(exchange: Exchange, *routes: dict[str, Any]) -> Reject:
    with pytest.raises(Reject) as caught:
        await match(exchange, *routes)
    assert exchange.route is None
    return caught.value


async def test_sets_route_service_and_params() -> None:
    exchange = make_exchange(target="/users/a%20b")
    await match(exchange, {"path": "/users/{id}"})
    assert exchange.route.name == "r0"
    assert exchange.service is ORIGIN
    assert exchange.params == {"id": "a b"}


async def test_sets_no_params_where_there_are_none() -> None:
    exchange = make_exchange()
    await match(exchange, {})
    assert exchange.params == {}
    assert not exchange.preflight


@pytest.mark.parametrize(
    ("rule", "request_"),
    [
        ({"methods": ["POST"]}, {"method": "POST"}),
        ({"hosts": ["b.example"]}, {"host": "b.example:8080"}),
        ({"headers": {"X-Beta": "1"}}, {"headers": {"X-Beta": "1"}}),
        ({"query": {"v": "1"}}, {"target": "/?v=1"}),
    ],
)
async def test_matches_the_whole_request(rule: dict[str, Any], request_: dict[str, Any]) -> None:
    exchange = make_exchange(**request_)
    await match(exchange, {"name": "all"}, {"name": "rule", **rule})
    assert exchange.route.name == "rule"


async def test_leaves_the_path_to_whoever_sends_it() -> None:
    exchange = make_exchange(target="/a/b")
    await match(exchange, {"path": "/a", "rewrite": {"strip_prefix": "/a"}})
    assert exchange.request.path == "/a/b"


async def test_the_deadline_counts_from_when_the_request_was_received() -> None:
    exchange = make_exchange(received_at=1000.0)
    await match(exchange, {"timeout": 2.5})
    assert exchange.deadline == 1002.5


async def test_a_route_without_timeout_sets_no_deadline() -> None:
    exchange = make_exchange()
    await match(exchange, {})
    assert exchange.deadline is None


async def test_an_unknown_route_is_404() -> None:
    reject = await refusal(make_exchange(target="/b"), {"path": "/a"})
    assert (reject.status, reject.code, reject.headers) == (404, "route_not_found", [])


async def test_a_wrong_method_is_405_with_those_allowed() -> None:
    reject = await refusal(make_exchange("PUT"), {"methods": ["GET"]}, {"methods": ["DELETE"]})
    assert (reject.status, reject.code) == (405, "method_not_allowed")
    assert reject.headers == [("Allow", "DELETE, GET, HEAD")]


async def test_a_preflight_is_matched_by_the_method_that_it_asks_about() -> None:
    exchange = make_exchange("OPTIONS", headers=PREFLIGHT_OF_PUT)
    await match(exchange, {"methods": ["GET"]}, {"methods": ["PUT"]})
    assert exchange.route.name == "r1"
    assert exchange.preflight
    assert exchange.service is ORIGIN


async def test_a_route_that_takes_options_gets_the_preflight() -> None:
    exchange = make_exchange("OPTIONS", headers=PREFLIGHT_OF_PUT)
    await match(exchange, {"methods": ["PUT"]}, {"methods": ["OPTIONS"]})
    assert exchange.route.name == "r1"
    assert not exchange.preflight


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {}),
        ("OPTIONS", {"Origin": "https://a.example"}),
        ("OPTIONS", {"Access-Control-Request-Method": "PUT"}),
        ("OPTIONS", PREFLIGHT_OF_PUT | {"Access-Control-Request-Method": "DELETE"}),
        ("POST", PREFLIGHT_OF_PUT),
    ],
)
async def test_what_is_no_preflight_of_a_route_is_405(method: str, headers: dict[str, str]) -> None:
    reject = await refusal(make_exchange(method, headers=headers), {"methods": ["PUT"]})
    assert reject.status == 405
    assert reject.headers == [("Allow", "PUT")]


async def test_answers_redirects() -> None:
    exchange = make_exchange("POST", "/docs/a%20b?c=d")
    to = "https://docs.example{rest}{query}"
    response, upstream = await match(exchange, {"path": "/docs", "redirect": {"to": to}})
    assert response.status == 308
    assert list(response.headers) == [("Location", "https://docs.example/a%20b?c=d")]
    assert response.body == b""
    assert not upstream.exchanges


@pytest.mark.parametrize("status", [301, 302, 303, 307])
async def test_redirects_with_the_configured_status(status: int) -> None:
    redirect = {"to": "/b/{id}", "status": status}
    response, _ = await match(
        make_exchange(target="/a/1"), {"path": "/a/{id}", "redirect": redirect}
    )
    assert response.status == status
    assert response.headers.get("Location") == "/b/1"


async def test_a_redirect_cannot_be_given_a_header_line() -> None:
    exchange = make_exchange(target="/%E5%98%8D?x\r\nSet-Cookie: a=b")
    response, _ = await match(exchange, {"path": "/{a}", "redirect": {"to": "/b/{a}{query}"}})
    assert response.headers.get("Location") == "/b/%E5%98%8D?x%0D%0ASet-Cookie:%20a=b"
