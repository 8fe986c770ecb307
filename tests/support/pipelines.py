"""Pipelines of small filters, compiled without a gateway around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import (
    ConfigError,
    ConfigIssue,
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    Key,
    Response,
)
from gatewayd.config.schema import GatewayConfig
from gatewayd.pipeline import Pipeline
from gatewayd.testing import make_exchange, make_gateway, make_service
from tests.support.plugins import plugins_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError

    from gatewayd.layers import Settings

TRACE: Key[list[str]] = Key("trace")
TOKEN: Key[str] = Key("token")


class TagConfig(FilterConfig):
    """Settings of `tag`."""

    text: str = "tag"
    """What it leaves in the trace."""
    fail: bool = False
    """Whether its constructor fails."""


class Tag(Filter[TagConfig]):
    """Leaves a trace on the way in and on the way out."""

    name = "tag"
    Config = TagConfig

    def __init__(self, config: TagConfig, gateway: Any) -> None:
        super().__init__(config, gateway)
        if config.fail:
            raise ConfigError(ConfigIssue("cannot be used", key="fail", hint="do not fail"))

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = trace = exchange.get(TRACE, [])
        trace.append(self.config.text)
        try:
            return await forward(exchange)
        finally:
            trace.append(f"/{self.config.text}")


class Other(Tag):
    """Another one of the same kind."""

    name = "other"


class Match(Filter[FilterConfig]):
    """Takes the route that the path names, and its first service or the one in the query."""

    name = "match"
    provides = frozenset({"route", "service"})

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        routes = {route.name: route for route in self.gateway.routes.routes()}
        exchange.route = route = routes[exchange.request.path.strip("/")]
        service = exchange.request.query or route.config.services[0].name
        exchange.service = self.gateway.services[service]
        return await forward(exchange)


class End(Filter[FilterConfig]):
    """Answers."""

    name = "end"
    terminal = True

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return Response(200, body=b"end")


class Grant(Tag):
    name = "grant"
    provides = frozenset({TOKEN})


class Need(Tag):
    name = "need"
    requires = frozenset({TOKEN})


class NeedMore(Tag):
    name = "need_more"
    requires = frozenset({TOKEN, "instance"})


class Observe(Filter[FilterConfig]):
    """Sees refusals as responses."""

    name = "observe"
    catches_errors = True

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        response = await forward(exchange)
        response.headers.set("X-Seen", str(response.status))
        return response


class Preflights(Tag):
    name = "preflights"
    answers_preflight = True

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return Response(204) if "answer" in exchange.request.headers else await forward(exchange)


CLASSES = (Tag, Other, Match, End, Grant, Need, NeedMore, Observe, Preflights)


def explain(error: ValidationError, settings: Settings) -> Sequence[ConfigIssue]:
    (detail,) = error.errors()
    return [ConfigIssue(detail["msg"], key=f"{settings.path}: {detail['loc']}")]


def compiled(*filters: str, plugins: Sequence[type[Filter[Any]]] = (), **config: Any) -> Pipeline:
    """Compile a pipeline; its routes go to the services `s` and `t`."""
    services = {"s": {}, "t": {}, **config.pop("services", {})}
    model = GatewayConfig.model_validate(
        {"pipeline": {"filters": list(filters)}, "services": services, **config}
    )
    gateway = make_gateway(
        routes=config.get("routes", ()),
        services={name: make_service(name, "http://127.0.0.1:9") for name in services},
        plugins=plugins_with(*CLASSES, *plugins),
    )
    pipeline = Pipeline(model, gateway, explain)
    pipeline.compile()
    return pipeline


def issues(*filters: str, **config: Any) -> list[str]:
    """Compile what cannot be compiled, and return what is said of it."""
    with pytest.raises(ConfigError) as caught:
        compiled(*filters, **config)
    return [str(issue) for issue in caught.value.issues]


def route(name: str, service: Any = "s", **filters: Any) -> dict[str, Any]:
    return {"name": name, "service": service, "filters": filters}


async def trace(pipeline: Pipeline, target: str = "/") -> list[str]:
    """Run an exchange, and return the trace that it leaves."""
    exchange = make_exchange("GET", target)
    response = await pipeline(exchange)
    assert response.status == 200
    return exchange.get(TRACE, [])
