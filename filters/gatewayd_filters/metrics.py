"""Count exchanges and measure them, for Prometheus.

Labels are names of the configuration, methods of RFC 9110 and status codes; each family has a bound
besides, so that nobody from outside can make series. What is counted is shown by the admin
listener's ``/metrics``.
"""

from __future__ import annotations

from bisect import bisect_left
from random import randint, random
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from gatewayd import (
    OBSERVATION,
    ROUTE,
    SECONDS,
    SERVICE,
    Filter,
    FilterConfig,
    Gateway,
    Observation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Cell, Exchange, Histogram, Route, Service

_METHODS = frozenset({
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
})  # fmt: skip
CLIENT_LEFT = 499
"""What stands for the status where the client has left before there was one, as in nginx."""

_REMEMBERED = 16_384
# Shares up to this one are counted off as exchanges are reported, many at once; to ask for each
# exchange takes 0.3 us more.
_RARE = 0.01
_Bound = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class MetricsConfig(FilterConfig):
    """Settings of `metrics`."""

    buckets: tuple[_Bound, ...] = Field(SECONDS, min_length=1, max_length=64)
    """Upper bounds, in seconds, of the histograms of requests and of attempts. What was counted
    stays in its bounds, so a change takes a restart."""
    filter_sample_ratio: float = Field(0.01, ge=0, le=1)
    """Share of the exchanges for which the time of each filter is measured: the time for which it
    occupies the event loop, and the time for which it waits. An exchange that is measured costs
    some 3 us more for each filter."""

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, bounds: tuple[float, ...]) -> tuple[float, ...]:
        if list(bounds) != sorted(set(bounds)):
            raise ValueError("bounds must ascend")
        return bounds


class _Cells:
    """What exchanges of one kind are counted in."""

    __slots__ = ("attempts", "requests", "retries", "seconds", "sent", "upstream")

    def __init__(
        self,
        requests: Cell,
        seconds: Histogram,
        sent: Cell,
        upstream: Histogram,
        attempts: Cell,
        retries: Cell,
    ) -> None:
        self.requests = requests
        self.seconds = seconds
        self.sent = sent
        self.upstream = upstream
        self.attempts = attempts
        self.retries = retries


class MetricsFilter(Filter[MetricsConfig]):
    """Count and measure every exchange when it has ended."""

    name = "metrics"
    Config = MetricsConfig
    reports = True

    def __init__(self, config: MetricsConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        metrics, bounds = gateway.metrics, config.buckets
        self._requests = metrics.counter(
            "gatewayd_requests",
            "Exchanges by route, service, method and status; 499 where the client has left.",
            ("route", "service", "method", "code"),
        )
        self._seconds = metrics.histogram(
            "gatewayd_request_seconds",
            "Time from a request's head to the last byte of its response.",
            ("route",),
            bounds=bounds,
            max_cells=1024,
        )
        self._sent = metrics.counter(
            "gatewayd_response_bytes", "Bytes of response bodies.", ("route",)
        )
        self._upstream = metrics.histogram(
            "gatewayd_upstream_seconds",
            "Time of the last attempt at an instance until its response head.",
            ("service",),
            bounds=bounds,
            max_cells=1024,
        )
        self._attempts = metrics.counter(
            "gatewayd_upstream_attempts", "Attempts at instances.", ("service",)
        )
        self._retries = metrics.counter(
            "gatewayd_retries", "Attempts after the first one.", ("service",)
        )
        self._refusals = metrics.counter(
            "gatewayd_refusals",
            "Exchanges that the gateway answered with a problem, by its code and by route.",
            ("code", "route"),
        )
        self._filters = _FilterTimes(gateway)
        self._known: dict[tuple[Route | None, Service | None, str, int], _Cells] = {}
        self._distance = 0  # exchanges from one that is measured to the next; 0 for none
        self._left = 0
        ratio = config.filter_sample_ratio
        if ratio > _RARE:
            gateway.observe(lambda _: Observation() if random() < ratio else None)  # noqa: S311
        elif ratio:
            self._distance = round(1 / ratio)

    def report(self, exchanges: Sequence[Exchange]) -> None:
        """See :meth:`gatewayd.Filter.report`."""
        known = self._known.get
        # One loop, with what Histogram.observe does written out twice: 0.2 us less.
        for exchange in exchanges:
            response, attempts = exchange.response, exchange.attempts
            status = CLIENT_LEFT if response is None else response.status
            route = exchange.get(ROUTE)
            key = route, exchange.get(SERVICE), exchange.request.method, status
            cells = known(key) or self._find(*key)
            cells.requests.value += 1
            seconds, histogram = exchange.ended_at - exchange.received_at, cells.seconds
            histogram.counts[bisect_left(histogram.bounds, seconds)] += 1
            histogram.sum += seconds
            cells.sent.value += exchange.sent
            if attempts:
                cells.attempts.value += attempts
                seconds, histogram = exchange.upstream_seconds, cells.upstream
                histogram.counts[bisect_left(histogram.bounds, seconds)] += 1
                histogram.sum += seconds
                if attempts > 1:
                    cells.retries.value += attempts - 1
            if exchange.refusal is not None:
                name = "" if route is None else route.name
                self._refusals.labels(exchange.refusal.code, name).value += 1
            if OBSERVATION in exchange:
                self._filters.add(exchange)
        if self._distance:
            self._left -= len(exchanges)
            if self._left < 0:
                self._measure_next()

    def _measure_next(self) -> None:
        """Measure the next exchange; at no fixed distance, as traffic may have a rhythm."""
        self._left += randint(1, 2 * self._distance - 1)  # noqa: S311  # no secret
        self.gateway.observe_next(Observation())

    def _find(
        self, route: Route | None, service: Service | None, method: str, status: int
    ) -> _Cells:
        """Return the cells of a kind, and remember them."""
        if len(self._known) >= _REMEMBERED:  # clients choose methods
            self._known.clear()
        route_name = "" if route is None else route.name
        service_name = "" if service is None else service.name
        shown = method if method in _METHODS else "_OTHER"
        cells = self._known[route, service, method, status] = _Cells(
            self._requests.labels(route_name, service_name, shown, str(status)),
            self._seconds.labels(route_name),
            self._sent.labels(route_name),
            self._upstream.labels(service_name),
            self._attempts.labels(service_name),
            self._retries.labels(service_name),
        )
        return cells


class _FilterTimes:
    """What filters take, of the exchanges that are observed."""

    def __init__(self, gateway: Gateway) -> None:
        metrics = gateway.metrics
        self._runs = metrics.counter(
            "gatewayd_filter_runs", "Runs of filters that were measured.", ("filter",)
        )
        self._loop = metrics.counter(
            "gatewayd_filter_loop_seconds",
            "Time for which measured runs occupied the event loop.",
            ("filter",),
        )
        self._wait = metrics.counter(
            "gatewayd_filter_wait_seconds",
            "Time for which measured runs waited for something else than the filters behind.",
            ("filter",),
        )
        self._longest: Any = metrics.gauge(
            "gatewayd_filter_longest_step_seconds",
            "Longest time for which a measured run occupied the event loop without a pause.",
            ("filter",),
            combine="max",
        )

    def add(self, exchange: Exchange) -> None:
        """Add what the filters of an exchange have taken."""
        for visit in exchange[OBSERVATION].visits:
            name = visit.filter.name
            self._runs.labels(name).value += 1
            self._loop.labels(name).value += visit.loop_seconds
            self._wait.labels(name).value += visit.wait_seconds
            longest = self._longest.labels(name)
            longest.value = max(longest.value, visit.longest_step)
