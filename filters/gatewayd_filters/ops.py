"""Health and readiness of this worker, for load balancers and orchestrators.

Liveness says that the process answers; readiness, that it should get traffic. What a probe shows to
whoever can reach the listener are names, states and latencies; why a check failed is logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import Field, model_validator

from gatewayd import Filter, FilterConfig, Headers, Reject, Response, Seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd import Exchange, Forward, Gateway

Path = Annotated[str, Field(pattern=r"^/[!-~]*$")]


class OpsConfig(FilterConfig):
    """Settings of `ops`. Its paths are taken before any route is looked for."""

    health: Path = "/health"
    """Path of the liveness probe: 200 as long as the worker answers."""
    ready: Path = "/ready"
    """Path of the readiness probe: 503 while the worker drains, or while a dependency that it
    cannot do without is down."""
    timeout: Seconds = 2.0
    """Time for the checks of the dependencies, which run side by side. Less than the 5 s after
    which HAProxy and AWS give a probe up."""
    cache: Annotated[float, Field(ge=0, le=60)] = 1.0
    """Seconds for which the result of the checks is used again, so that probes, whoever sends
    them, put no load on the dependencies."""

    @model_validator(mode="after")
    def _different_paths(self) -> OpsConfig:
        if self.health == self.ready:
            raise ValueError("health and ready need different paths")
        return self


class Ops(Filter[OpsConfig]):
    """Answer liveness and readiness probes."""

    name = "ops"
    Config = OpsConfig

    def __init__(self, config: OpsConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._probes: dict[str, Callable[[], Awaitable[Response]]] = {
            config.health: self._health,
            config.ready: self._ready,
        }

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 405 ``method_not_allowed`` for a probe that is neither GET nor HEAD.

        """
        probe = self._probes.get(exchange.request.path)
        if probe is None:
            return forward(exchange)
        if exchange.request.method not in ("GET", "HEAD"):
            raise Reject(
                405, "method_not_allowed", "Probes use GET or HEAD.", [("Allow", "GET, HEAD")]
            )
        return probe()

    async def _health(self) -> Response:
        return _answer(200, {"status": "ok"})

    async def _ready(self) -> Response:
        report = await self.gateway.readiness.report(self.config.timeout, self.config.cache)
        if report["status"] == "draining":
            return _answer(503, {"status": "draining"})
        return _answer(200 if report["status"] == "ready" else 503, report)


def _answer(status: int, content: dict[str, Any]) -> Response:
    headers = Headers.of_lines(
        [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
    )
    return Response(status, headers, orjson.dumps(content))
