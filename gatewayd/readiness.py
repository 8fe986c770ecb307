"""Whether a worker should get traffic, and what it depends on for it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gatewayd.timers import Clock

CHECK_SECONDS = 2.0
"""Time for a check. Less than the 5 s after which HAProxy and AWS give a probe up."""

CACHE_SECONDS = 1.0
"""For how long results are used again, so that probes put no load on the dependencies."""

logger = logging.getLogger("gatewayd.readiness")


class Readiness:
    """Whether this worker should get traffic, and what one generation depends on for it.

    Args:
        clock: Monotonic seconds.

    Attributes:
        draining: Set when the worker stops, or was taken out of service; it is not ready then.

    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.draining = False
        self._clock = clock
        self._checks: dict[str, tuple[Callable[[], Awaitable[None]], bool]] = {}
        self._run: asyncio.Task[dict[str, Any]] | None = None
        self._finished_at = 0.0
        self._down: set[str] = set()

    def add(self, name: str, check: Callable[[], Awaitable[None]], *, gates: bool = True) -> None:
        """Register a dependency.

        Args:
            name: Its name, such as ``redis``.
            check: Raises if the dependency does not work; bounded in time by whoever calls it.
            gates: Whether its failure makes the worker not ready.

        """
        self._checks[name] = (check, gates)

    @property
    def checks(self) -> Mapping[str, tuple[Callable[[], Awaitable[None]], bool]]:
        """The registered dependencies: check, and whether it gates readiness."""
        return self._checks

    async def report(
        self, seconds: float = CHECK_SECONDS, cache: float = CACHE_SECONDS
    ) -> dict[str, Any]:
        """Return the status, and of each dependency its status, latency, and whether it gates.

        Args:
            seconds: Time for the checks, which run side by side.
            cache: For how long the result of earlier checks is good enough.

        """
        # Asked each time, not with the checks: a worker that stops must say so at once.
        if self.draining:
            return {"status": "draining", "checks": {}}
        checks = await self._results(seconds, cache)
        failed = any(check["gates"] and check["status"] != "up" for check in checks.values())
        return {"status": "not_ready" if failed else "ready", "checks": checks}

    async def _results(self, seconds: float, cache: float) -> dict[str, Any]:
        run = self._run
        if run is None or (run.done() and self._clock() - self._finished_at >= cache):
            run = self._run = asyncio.create_task(self._run_checks(seconds), name="readiness")
        # Shielded: a probe that gives up must not take the result from the others.
        return await asyncio.shield(run)

    async def _run_checks(self, seconds: float) -> dict[str, Any]:
        checks = dict(self._checks)  # filters may add some meanwhile
        results = await asyncio.gather(
            *(self._check(name, check, gates, seconds) for name, (check, gates) in checks.items())
        )
        self._finished_at = self._clock()
        return dict(zip(checks, results, strict=True))

    async def _check(
        self, name: str, check: Callable[[], Awaitable[None]], gates: bool, seconds: float
    ) -> dict[str, Any]:
        started = self._clock()
        failure: Exception | None = None
        try:
            async with asyncio.timeout(seconds):
                await check()
        except Exception as error:
            failure = error
        latency = (self._clock() - started) * 1000
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

    async def close(self) -> None:
        """Stop checks that still run."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait([self._run])
            self._run = None
