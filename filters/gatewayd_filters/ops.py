"""Health and readiness of this worker, for load balancers and orchestrators.

Liveness says that the process answers; readiness, that it should get traffic. What a probe shows to
whoever can reach the listener are names, states and latencies; why a check failed is logged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import Field, model_validator

from gatewayd import Filter, FilterConfig, Headers, Reject, Response, Seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd import Exchange, Forward, Gateway

Path = Annotated[str, Field(pattern=r"^/[!-~]*$")]
logger = logging.getLogger("gatewayd.filters.ops")


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
        self._run: asyncio.Task[dict[str, Any]] | None = None
        self._expires_at = 0.0
        self._down: set[str] = set()

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

    async def close(self) -> None:
        """Stop checks that still run."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait([self._run])
            self._run = None

    async def _health(self) -> Response:
        return _answer(200, {"status": "ok"})

    async def _ready(self) -> Response:
        # Asked each time, not with the checks: a worker that stops must say so at once.
        if self.gateway.readiness.draining:
            return _answer(503, {"status": "draining"})
        checks = await self._checks()
        failed = any(check["gates"] and check["status"] != "up" for check in checks.values())
        status = "not_ready" if failed else "ready"
        return _answer(503 if failed else 200, {"status": status, "checks": checks})

    async def _checks(self) -> dict[str, Any]:
        """Return the results of a run that is at most ``cache`` seconds old, or still under way."""
        if self._run is None or (self._run.done() and self.gateway.clock() >= self._expires_at):
            self._run = asyncio.create_task(self._run_checks(), name="gatewayd ops checks")
        # Shielded: a probe that gives up must not take the result from the others.
        return await asyncio.shield(self._run)

    async def _run_checks(self) -> dict[str, Any]:
        checks = dict(self.gateway.readiness.checks)  # filters may add some meanwhile
        results = await asyncio.gather(
            *(self._check(name, check, gates) for name, (check, gates) in checks.items())
        )
        self._expires_at = self.gateway.clock() + self.config.cache
        return dict(zip(checks, results, strict=True))

    async def _check(
        self, name: str, check: Callable[[], Awaitable[None]], gates: bool
    ) -> dict[str, Any]:
        started = self.gateway.clock()
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self.config.timeout):
                await check()
        except Exception as error:
            failure = error
        latency = (self.gateway.clock() - started) * 1000
        self._log_change(name, failure)
        status = "down" if failure else "up"
        return {"status": status, "latency_ms": round(latency, 1), "gates": gates}

    def _log_change(self, name: str, failure: Exception | None) -> None:
        """Log what has changed, not every probe of an outage."""
        if failure is None:
            if name in self._down:
                self._down.remove(name)
                logger.info("dependency %s is up again", name)
        elif name not in self._down:
            self._down.add(name)
            logger.warning("dependency %s is down: %r", name, failure)


def _answer(status: int, content: dict[str, Any]) -> Response:
    headers = Headers([(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")])
    return Response(status, headers, orjson.dumps(content))
