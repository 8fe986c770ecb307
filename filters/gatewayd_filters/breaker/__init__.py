"""Circuit breaker: a failing instance is left alone until it has had time to recover.

While the breaker is open an exchange is refused before anything is sent, so that ``retry``, which
stands outside, picks another instance at no cost. What counts as a failure is what the instance
did: it could not be reached, broke off, was late, or answered with one of ``statuses``. That all
connections to it are in use, that the client went away or is slow, or that another filter refused
says nothing about it. An exchange is judged when the response head is there: a stream or a tunnel
may go on for hours. One that is cancelled before, as the client went away or as another attempt was
faster (``retry.hedge``), has been slow if it took as long as a slow one: an instance that hangs and
is always overtaken shows nothing else.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from gatewayd import (
    Breaker,
    BreakerChange,
    BreakerListener,
    BreakerPolicy,
    ConfigError,
    ConfigIssue,
    Filter,
    FilterConfig,
    Seconds,
    StatusPattern,
    UpstreamError,
    status_codes,
)
from gatewayd_filters.breaker.history import History
from gatewayd_filters.breaker.in_use import BreakersInUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd import Exchange, Forward, Gateway, Response, Service
    from gatewayd_filters.breaker.in_use import Breakers

Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class BreakerConfig(FilterConfig):
    """Settings of `breaker`."""

    scope: Literal["instance", "service"] = "instance"
    """What has a breaker of its own: each instance, or the service as a whole."""
    window: Seconds = 10.0
    """Seconds over which exchanges are counted. Hystrix's."""
    window_requests: int = Field(0, ge=0, le=100_000)
    """Count the last so many exchanges instead; 0 counts over time."""
    min_requests: int = Field(20, ge=1, le=100_000)
    """Exchanges in the window below which no ratio opens the breaker. Hystrix's."""
    failure_ratio: Ratio = 0.5
    """Share of failures that opens it; 0 for none. Hystrix's."""
    consecutive_failures: int = Field(0, ge=0, le=100_000)
    """Failures in a row that open it, however few exchanges there are; 0 for none."""
    slow_after: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 0.0
    """Seconds to the response head from which on an exchange is slow; 0 where none is. One that is
    given up without an answer after so long is, too: with `retry.hedge`, set this to less than its
    `after`, and an instance that hangs is found though other attempts always overtake it. One whose
    request body was still to come when it was forwarded never is: that is the client's speed."""
    slow_ratio: Ratio = 0.5
    """Share of slow exchanges that opens it."""
    open_for: Seconds = 5.0
    """Seconds for which it stays open. Hystrix's."""
    half_open_requests: int = Field(3, ge=1, le=1000)
    """Exchanges that it lets through at once after that; if all of them succeed it closes, if one
    fails it opens again. While they take longer than `open_for`, as an upload of a slow client may,
    as many more are let through each time that this is over."""
    statuses: tuple[StatusPattern, ...] = ("5xx",)
    """Statuses that are failures."""

    persist: bool = False
    """Whether transitions are kept in the store, and a node that starts again leaves alone what it
    had left alone, for as long as that would have lasted."""

    @model_validator(mode="after")
    def _works(self) -> BreakerConfig:
        _ = self.policy  # which checks its values
        return self

    @property
    def policy(self) -> BreakerPolicy:
        """The same as the library's settings."""
        return BreakerPolicy(**self.model_dump(exclude={"scope", "statuses", "persist"}))


class BreakerFilter(Filter[BreakerConfig]):
    """Refuse at once what would go to a failing instance."""

    name = "breaker"
    Config = BreakerConfig
    requires = frozenset({"instance", "service"})

    def __init__(self, config: BreakerConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._statuses = status_codes(config.statuses)
        self._policy = config.policy
        self._slow_after = config.slow_after or float("inf")
        self._per_instance = config.scope == "instance"
        self._clock = gateway.clock
        # By service, then by URL; routes with the same settings share them, also over reloads.
        self._breakers: Breakers = {
            name: gateway.keep(("breaker", name, config), dict) for name in gateway.services
        }
        self._in_use = gateway.keep(("breaker", "in use"), lambda: BreakersInUse(gateway.metrics))
        self._transitions = gateway.metrics.counter(
            "gatewayd_breaker_transitions", "Changes of breakers' states.", ("service", "to")
        )
        gateway.admin.register("breakers.list", self._list)
        gateway.admin.register("breakers.reset", self._reset)
        self._history: History | None = None
        self._histories: list[History] = gateway.keep(("breaker", "histories"), list)
        if config.persist:
            store, metrics = gateway.store, gateway.metrics
            if store is None:
                raise ConfigError(ConfigIssue("needs the store", key="persist"))
            key = ("breaker", "history", store)
            self._history = gateway.keep(key, lambda: History(store, metrics, self._histories))

    def _all(self) -> list[tuple[str, str, Breaker]]:
        """Return all breakers, each with its service and target."""
        return [
            (service, target, breaker)
            for service, breakers in self._breakers.items()
            for target, breaker in breakers.items()
        ]

    async def _list(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        now = self._clock()
        for service in self._breakers:
            self._in_use.forget_gone(service)
        return [
            {
                "service": service,
                "target": target,
                "state": breaker.state.value,
                "retry_after": round(breaker.retry_after(now), 3),
            }
            for service, target, breaker in self._all()
        ]

    async def _reset(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        wanted_service, wanted_target = arguments.get("service"), arguments.get("target")
        done = []
        for service, target, breaker in self._all():
            if wanted_service in (None, service) and wanted_target in (None, target):
                breaker.reset()
                done.append({"service": service, "target": target})
        return done

    async def start(self) -> None:
        """Learn how breakers were left, and show their states."""
        self._in_use.add(self, self._breakers, self.gateway.services)
        if self._history is not None:
            await self._history.start()

    async def close(self) -> None:
        """Show them no more."""
        self._in_use.remove(self)

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            BreakerOpen: the instance, or the service, is left alone for now.

        """
        service, instance = exchange.service, exchange.instance
        assert service is not None and instance is not None  # noqa: PT018, S101  # required
        target = instance.url if self._per_instance else service.name
        breaker = self._breakers[service.name].get(target)
        if breaker is None:
            breaker = self._make(service, target)
        clock = self._clock
        started = clock()
        permit = breaker.admit(started)
        try:
            response = await forward(exchange)
        except BaseException as error:
            self._record_error(breaker, permit, started, exchange, error)
            raise
        now = clock()
        seconds = now - started
        if seconds >= self._slow_after and not isinstance(exchange.request.body, bytes):
            seconds = 0.0  # that may have been the client's time
        breaker.record(permit, response.status in self._statuses, seconds, now)
        return response

    def _record_error(
        self,
        breaker: Breaker,
        permit: int,
        started: float,
        exchange: Exchange,
        error: BaseException,
    ) -> None:
        """Tell a breaker what an exchange without a response says of the instance."""
        now = self._clock()
        seconds = now - started
        if isinstance(error, UpstreamError) and error.instance_failed:
            breaker.record(permit, failed=True, seconds=seconds, now=now)
        elif isinstance(error, CancelledError) and isinstance(exchange.request.body, bytes):
            breaker.give_up(permit, seconds, now)
        else:
            breaker.release(permit)

    def _make(self, service: Service, target: str) -> Breaker:
        """Make a breaker, as it was left, and drop those of instances that are gone."""
        name, history = service.name, self._history
        self._in_use.forget_gone(name)
        instance = target if self._per_instance else ""
        label = f"{target} of {name}" if self._per_instance else f"service {target}"
        listeners = self._listeners(name, instance)
        breaker = Breaker(label, self._policy, clock=self._clock, on_change=listeners)
        self._breakers[name][target] = breaker
        if history is not None and (left := history.seconds_left(name, instance)):
            breaker.reopen(left)
        return breaker

    def _listeners(self, service: str, instance: str) -> list[BreakerListener]:
        """Return what is told of a breaker's changes.

        The breaker outlives this filter: none of it may be the filter's, nor the service's, or a
        whole generation would stay with it.
        """
        transitions, histories, open_for = self._transitions, self._histories, self._policy.open_for

        def count(change: BreakerChange) -> None:
            transitions.labels(service, change.after.value).value += 1

        def note(change: BreakerChange) -> None:
            for history in histories:
                history.note(service, instance, change, open_for)

        listeners: list[BreakerListener] = [self.gateway.events.publish, count]
        return listeners if self._history is None else [*listeners, note]
