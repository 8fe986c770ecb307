"""Try again where an instance fails, without doing anything twice and without making it worse.

It stands before ``balancer`` and ``breaker``: each attempt picks again, and picks another instance
where there is one. What has failed decides what may be repeated:

- no byte of the request was sent: any method;
- the instance may have read it: only ``methods``, the idempotent ones by default;
- the response head is there: nothing, unless its status is a condition. The head is all that this
  filter waits for, so nothing is repeated once a byte of the response has gone to the client.

A breaker that is open costs another pick, not an attempt.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from gatewayd import (
    Backoff,
    Body,
    BreakerOpen,
    Exchange,
    Filter,
    Forward,
    Gateway,
    Instance,
    Request,
    Response,
    RetryBudget,
    RetryPolicy,
    UpstreamError,
)
from gatewayd_filters.retry.config import RetryConfig
from gatewayd_filters.retry.hedge import Latencies, hedged
from gatewayd_filters.retry.picks import avoid, pass_by
from gatewayd_filters.retry.replay import Replay

__all__ = ["Retry", "RetryConfig"]

Outcome: TypeAlias = Response | UpstreamError | BreakerOpen

_HEDGED = frozenset({"GET", "HEAD"})
_NEVER = float("inf")


class Retry(Filter[RetryConfig]):
    """Try again, on another instance where there is one."""

    name = "retry"
    Config = RetryConfig
    requires = frozenset({"service"})

    def __init__(self, config: RetryConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._statuses = config.statuses
        self._budgets = {service: self._budget(service) for service in gateway.services}
        # Asked for by every exchange, and pydantic's attributes take five times as long.
        self._per_try_timeout, self._hedge = config.per_try_timeout, config.hedge
        self._policies = {
            service: self._policy(budget) for service, budget in self._budgets.items()
        }
        self._latencies = {}
        if config.hedge is not None:
            settings = config.hedge
            self._latencies = {
                service: gateway.keep(
                    ("retry", "latencies", service, settings), lambda: Latencies(settings)
                )
                for service in gateway.services
            }

    def _budget(self, service: str) -> RetryBudget:
        """Return the budget of a service; routes share it where they agree about its settings."""
        share, floor = self.config.budget, self.config.budget_floor
        return self.gateway.keep(
            ("retry", "budget", service, share, floor),
            lambda: RetryBudget(share, floor, self.gateway.clock),
        )

    def _policy(self, budget: RetryBudget) -> RetryPolicy:
        config = self.config
        backoff = Backoff(config.backoff.base, config.backoff.max, config.backoff.jitter)
        return RetryPolicy(config.attempts, backoff, budget, config.retry_after)

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: what the last attempt was refused with.

        """
        request = exchange.request
        service = _service(exchange)
        self._budgets[service].requests += 1
        if self._per_try_timeout is not None:
            exchange.try_timeout = self._per_try_timeout
        if self._hedge is not None and _may_be_hedged(request):
            forward = self._hedging(service, forward)
        replay = None
        body = request.body
        if not isinstance(body, bytes):
            replay = self._replay(exchange, body)
            request.body = replay.body()
        outcome: Outcome
        try:
            outcome = await forward(exchange)
            if outcome.status not in self._statuses:
                return outcome
        except (UpstreamError, BreakerOpen) as error:
            outcome = error
        return await self._again(exchange, forward, outcome, replay)

    def _replay(self, exchange: Exchange, body: Body) -> Replay:
        # What may not be repeated once it was sent has nothing to keep.
        keeps = exchange.request.method in self.config.methods
        replay = Replay(body, self.config.replay_bytes if keeps else 0)
        if not body.resumable:
            exchange.on_finish(lambda _, __: replay.stop())
        return replay

    def _hedging(self, service: str, forward: Forward) -> Forward:
        """Return a ``forward`` that starts a second attempt while the first one is slow."""

        async def forward_hedged(exchange: Exchange) -> Response:
            return await hedged(
                exchange,
                forward,
                latencies=self._latencies[service],
                budget=self._budgets[service],
                statuses=self._statuses,
                clock=self.gateway.clock,
            )

        return forward_hedged

    async def _again(
        self, exchange: Exchange, forward: Forward, outcome: Outcome, replay: Replay | None
    ) -> Response:
        """Try until an attempt succeeds or none may follow; ``outcome`` is that of the first."""
        made = 0
        passed_by: tuple[Instance, ...] = ()
        while True:
            if isinstance(outcome, BreakerOpen):
                passed_by = pass_by(exchange, passed_by, outcome)
            else:
                made += 1
                wait = self._wait(exchange, outcome, made, replay)
                if wait is None:
                    return _result(outcome)
                avoid(exchange, exchange.instance)
                if isinstance(outcome, Response):
                    await outcome.discard()
                if wait:
                    await asyncio.sleep(wait)
            if replay is not None:
                exchange.request.body = replay.body()
            outcome = await _try(exchange, forward)
            if isinstance(outcome, Response) and outcome.status not in self._statuses:
                return outcome

    def _wait(
        self,
        exchange: Exchange,
        outcome: Response | UpstreamError,
        made: int,
        replay: Replay | None,
    ) -> float | None:
        """Return the seconds to wait before the next attempt; ``None`` if there is to be none."""
        repeatable = exchange.request.method in self.config.methods
        if replay is not None and not replay.possible:
            return None
        asked = 0.0
        if isinstance(outcome, Response):
            if not repeatable:
                return None
            asked = _retry_after(outcome)
        elif outcome.reason not in self.config.on or (outcome.sent and not repeatable):
            return None
        left = _NEVER if exchange.deadline is None else exchange.deadline - self.gateway.clock()
        return self._policies[_service(exchange)].wait(made, left=left, asked=asked)


def _service(exchange: Exchange) -> str:
    assert exchange.service is not None  # noqa: S101  # required
    return exchange.service.name


async def _try(exchange: Exchange, forward: Forward) -> Outcome:
    """Make an attempt; what another one may follow is returned, not raised."""
    try:
        return await forward(exchange)
    except (UpstreamError, BreakerOpen) as error:
        return error


def _may_be_hedged(request: Request) -> bool:
    """Whether two instances may work on it at the same time."""
    return request.method in _HEDGED and request.body == b"" and request.upgrade is None


def _result(outcome: Response | UpstreamError) -> Response:
    """Return the response, or raise what came instead of one."""
    if isinstance(outcome, Response):
        return outcome
    raise outcome


def _retry_after(response: Response) -> float:
    """Return the seconds that a response asks to wait; 0 where it does not say (validly).

    RFC 9110 section 10.2.3: a number of seconds, or a date, which is in UTC in all its forms: that
    of asctime() does not say so.
    """
    value = response.headers.get("Retry-After")
    if value is None:
        return 0.0
    if value.isdecimal():
        return float(value[:9])  # above a century it makes no difference
    try:
        when = parsedate_to_datetime(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
