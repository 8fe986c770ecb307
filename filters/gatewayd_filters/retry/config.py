"""Settings of ``retry``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ByteSize, Field, model_validator

from gatewayd import FilterConfig, Seconds, status_codes

_CONDITION = r"^(connect_failure|reset|timeout|bad_response|overloaded|[45](xx|[0-9]{2}))$"
Condition = Annotated[int, Field(ge=400, le=599)] | Annotated[str, Field(pattern=_CONDITION)]
Method = Annotated[str, Field(pattern=r"^[A-Z][A-Z-]*$")]


class BackoffConfig(FilterConfig):
    """How long to wait before another attempt."""

    base: Seconds = 0.025
    """Longest wait before the first retry; it doubles with each further one. Envoy's default."""
    max: Seconds = 0.25
    """Bound of all waits. Ten times `base`, as Envoy has it."""
    jitter: Literal["full", "none"] = "full"
    """`full` draws each wait at random from zero to its bound, so that requests which failed
    together do not come back together; `none` waits as long as the bound."""


class HedgeConfig(FilterConfig):
    """When to send a second, parallel attempt because the first is slow."""

    after: Seconds = 0.1
    """Seconds without an answer before the second attempt; with `percentile`, used until enough
    answers have been seen."""
    percentile: float | None = Field(None, ge=50, lt=100)
    """Take the wait from the service's own answers instead: 95 sends the second attempt when an
    answer takes longer than 95 % of the last thousand did."""


class RetryConfig(FilterConfig):
    """Settings of `retry`."""

    attempts: int = Field(3, ge=1, le=10)
    """Attempts in all, the first one included."""
    on: frozenset[Condition] = frozenset({"connect_failure", "reset", "timeout", "503"})
    """What to try again after: `connect_failure`, `reset` (the connection ended before the response
    head), `timeout`, `bad_response` (no valid HTTP), `overloaded` (no connection came free), a
    status of 400 to 599, or a class of them such as `5xx`."""
    methods: frozenset[Method] = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
    """Methods whose requests may reach an instance twice. By default the idempotent ones (RFC 9110
    section 9.2.2). Requests of other methods are tried again only if no byte of them was sent."""
    backoff: BackoffConfig = BackoffConfig()
    """Waits between attempts."""
    budget: float = Field(0.2, ge=0.0, le=1.0)
    """Share of a service's requests of the last ten seconds that may be retries (0.2 for 20 %), so
    that an outage is not multiplied. Finagle's and Envoy's default."""
    budget_floor: float = Field(3.0, ge=0.0, le=1000.0)
    """Retries per second that are allowed in any case, for services with little traffic."""
    retry_after: float = Field(1.0, ge=0.0, le=60.0)
    """Longest `Retry-After` of a response that is waited for, in seconds. A response that asks for
    more goes to the client."""
    per_try_timeout: Seconds | None = None
    """Time for one attempt until its response head is there, within the route's `timeout`. Where
    the client is still sending the body, it counts from the body's end."""
    replay_bytes: ByteSize = Field(default=ByteSize(64 * 1024), ge=0)
    """Bytes of a request body that are kept for another attempt, as a number or as `"64KiB"`. A
    larger body is streamed, and not sent again once it was begun."""
    hedge: HedgeConfig | None = None
    """Send a second attempt to another instance while the first is still waiting; the first answer
    wins and the other is cancelled, which is no failure of its instance: `breaker.slow_after` finds
    one that is always overtaken. For GET and HEAD without body and upgrade. It counts in `budget`,
    but not in `attempts`, where Envoy's does: each attempt may be hedged once, so that up to twice
    as many requests may go out."""

    @model_validator(mode="after")
    def _tries_last_no_longer_than_their_hedge_waits(self) -> RetryConfig:
        limit = self.per_try_timeout
        if self.hedge is not None and limit is not None and self.hedge.after >= limit:
            raise ValueError("hedge.after must be below per_try_timeout, or it never happens")
        return self

    @property
    def statuses(self) -> frozenset[int]:
        """The statuses among the conditions."""
        return status_codes(one for one in self.on if str(one)[0] in "45")
