"""Count exchanges and measure them, for Prometheus.

Labels are names of the configuration, methods of RFC 9110 and status codes; each family has a bound
besides, so that nobody from outside can make series. What is counted is shown by the admin
listener's ``/metrics``.
"""

from __future__ import annotations

from collections import deque
from random import randint, random
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from gatewayd import SECONDS, Filter, FilterConfig, Gateway, Observation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Cell, Exchange, Histogram, Route, Service

_METHODS = frozenset({
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
})  # fmt: skip
CLIENT_LEFT = 499
"""What stands for the status where the client has left before there was one, as in nginx."""

_REMEMBERED = 16_384
# Exchanges whose numbers may wait until they are counted. With more, more of them are of one kind;
# to count 4,096 of one kind takes 0.4 ms.
_MOST_GATHERED = 4096
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


class _Upstream:
    """Attempts at the instances of one service.

    Attributes:
        seconds: Durations of last attempts that are not counted yet.

    """

    __slots__ = ("_attempts", "_lasted", "_retries", "seconds")

    def __init__(self, lasted: Histogram, attempts: Cell, retries: Cell) -> None:
        self.seconds: list[float] = []
        self._lasted = lasted
        self._attempts = attempts
        self._retries = retries

    def add_retries(self, number: int) -> None:
        """Count attempts before the last one."""
        self._attempts.value += number
        self._retries.value += number

    def count(self) -> int:
        """Count what was gathered; no exchanges, which are counted elsewhere."""
        self._attempts.value += len(self.seconds)
        self._lasted.observe_all(self.seconds)
        self.seconds.clear()
        return 0


class _Kind:
    """Exchanges of one route, service, method and status.

    Numbers of many are gathered before they are counted, which takes a third less for each.

    Attributes:
        seconds: Durations that are not counted yet, one of each exchange.
        sent: Bytes that are not counted yet.
        upstream: What its service's attempts are counted in.

    """

    __slots__ = ("_lasted", "_requests", "_sent", "seconds", "sent", "upstream")

    def __init__(self, requests: Cell, lasted: Histogram, sent: Cell, upstream: _Upstream) -> None:
        self.seconds: list[float] = []
        self.sent = 0
        self.upstream = upstream
        self._requests = requests
        self._lasted = lasted
        self._sent = sent

    def count(self) -> int:
        """Count what was gathered, and return of how many exchanges."""
        exchanges = len(self.seconds)
        self._requests.value += exchanges
        self._lasted.observe_all(self.seconds)
        self._sent.value += self.sent
        self.seconds.clear()
        self.sent = 0
        return exchanges


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
        self._upstream_seconds = metrics.histogram(
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
        self._known: dict[tuple[Route | None, Service | None, str, int], _Kind] = {}
        self._upstreams: dict[str, _Upstream] = {}
        self._gathering: deque[_Kind | _Upstream] = deque()
        self._gathered = 0
        self._distance = 0  # exchanges from one that is observed to the next; 0 for none
        self._until_next = 0
        ratio = config.filter_sample_ratio
        if ratio > _RARE:
            gateway.observe(lambda _: Observation() if random() < ratio else None)  # noqa: S311
        elif ratio:
            self._distance = round(1 / ratio)

    async def start(self) -> None:
        """Have everything counted when somebody reads."""
        self.gateway.metrics.on_read(self._count_all)

    async def close(self) -> None:
        """Count what is left."""
        self.gateway.metrics.forget_reader(self._count_all)
        self._count_all()

    def report(self, exchanges: Sequence[Exchange]) -> None:
        """See :meth:`gatewayd.Filter.report`."""
        self._gathered += len(exchanges)
        known = self._known.get
        for exchange in exchanges:
            response = exchange.response
            status = CLIENT_LEFT if response is None else response.status
            route = exchange.route
            key = route, exchange.service, exchange.request.method, status
            kind = known(key) or self._make_kind(*key)
            if not kind.seconds:
                self._gathering.append(kind)
            kind.seconds.append(exchange.ended_at - exchange.received_at)
            kind.sent += exchange.sent
            attempts = exchange.attempts
            if attempts:
                upstream = kind.upstream
                if not upstream.seconds:
                    self._gathering.append(upstream)
                upstream.seconds.append(exchange.upstream_seconds)
                if attempts > 1:
                    upstream.add_retries(attempts - 1)
            if exchange.refusal is not None:
                name = "" if route is None else route.name
                self._refusals.labels(exchange.refusal.code, name).value += 1
            if exchange.observation is not None:
                self._filters.add(exchange.observation)
        self._count_oldest()
        if self._distance:
            self._until_next -= len(exchanges)
            if self._until_next < 0:
                self._observe_next()

    def _count_all(self) -> None:
        while self._gathering:
            self._gathering.popleft().count()
        self._gathered = 0

    def _count_oldest(self) -> None:
        """Count until few enough are left."""
        # After a report that failed half-way, fewer are there than it has told of.
        while self._gathered > _MOST_GATHERED and self._gathering:
            self._gathered -= self._gathering.popleft().count()

    def _observe_next(self) -> None:
        """Have the next exchange observed; at no fixed distance, as traffic may have a rhythm."""
        self._until_next += randint(1, 2 * self._distance - 1)  # noqa: S311  # no secret
        self.gateway.observe_next(Observation())

    def _make_kind(
        self, route: Route | None, service: Service | None, method: str, status: int
    ) -> _Kind:
        """Make what exchanges of a kind are counted in, and remember it."""
        if len(self._known) >= _REMEMBERED:  # clients choose methods
            self._known.clear()
        route_name = "" if route is None else route.name
        service_name = "" if service is None else service.name
        shown = method if method in _METHODS else "_OTHER"
        kind = self._known[route, service, method, status] = _Kind(
            self._requests.labels(route_name, service_name, shown, str(status)),
            self._seconds.labels(route_name),
            self._sent.labels(route_name),
            self._upstream(service_name),
        )
        return kind

    def _upstream(self, service: str) -> _Upstream:
        """Return what attempts at a service's instances are counted in."""
        upstream = self._upstreams.get(service)
        if upstream is None:
            upstream = self._upstreams[service] = _Upstream(
                self._upstream_seconds.labels(service),
                self._attempts.labels(service),
                self._retries.labels(service),
            )
        return upstream


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
        self._longest = metrics.gauge(
            "gatewayd_filter_longest_step_seconds",
            "Longest time for which a measured run occupied the event loop without a pause.",
            ("filter",),
            combine="max",
        )

    def add(self, observation: Observation) -> None:
        """Add what the filters of an exchange have taken."""
        for visit in observation.visits:
            name = visit.filter.name
            self._runs.labels(name).value += 1
            self._loop.labels(name).value += visit.loop_seconds
            self._wait.labels(name).value += visit.wait_seconds
            longest = self._longest.labels(name)
            longest.value = max(longest.value, visit.longest_step)
