"""Pick the instance that an attempt goes to.

How it is picked is a strategy: a balancer, found by entry point like a filter. Each service has one
of its own for every strategy that its routes ask for, which survives reloads. What holds for every
strategy happens here: zones, slow start, panic, and another instance for another attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gatewayd import (
    Balancer,
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    Gateway,
    Instance,
    Response,
)
from gatewayd_filters.balancers.candidates import Candidates, Preferences
from gatewayd_filters.balancers.strategy import Strategy, identity, prepare
from gatewayd_filters.balancers.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping


class BalancerConfig(FilterConfig):
    """Settings of `balancer`.

    An instance that an earlier attempt went to is not picked again while there is another.
    """

    strategy: Strategy = Field("round_robin", repr=False)  # its settings may hold a secret
    """Name of an installed balancer, or a table of its `name` and its own settings, as
    `{ name = "p2c", decay = 5 }`. `gatewayd plugins list` shows the balancers, `gatewayd plugins
    show NAME` the settings of one."""
    zone: str = ""
    """The zone that this gateway stands in: instances with the same `zone` are preferred. Balancers
    that keep clients with their instance (`consistent_hash`, `sticky`) use all zones."""
    zone_overprovisioning: float = Field(1.4, ge=1, le=100, allow_inf_nan=False)
    """How many times its normal load the own zone can take. When so many of its instances are away
    that this does not suffice, the rest spills over to other zones. Envoy's default."""
    slow_start: float = Field(0.0, ge=0, le=86400, allow_inf_nan=False)
    """Seconds over which an instance that has come back gets its full share of requests, beginning
    with a tenth; 0 for at once. Clients that are kept with their instance go there at once."""
    panic_threshold: float = Field(0.3, ge=0, le=1)
    """Share of a service's usable instances. When fewer are available, all are used, lest the few
    that are left break down as well, or the health checks are what is broken; 0 turns this off.
    While none is available, requests are refused with 503. Envoy has 0.5, with which the last one
    of three would be given up."""


class BalancerFilter(Filter[BalancerConfig]):
    """Pick an available instance of the service."""

    name = "balancer"
    Config = BalancerConfig
    requires = frozenset({"service"})
    provides = frozenset({"instance"})

    def __init__(self, config: BalancerConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        make = prepare(config.strategy, gateway, "strategy")
        key = identity(config.strategy)
        preferences = Preferences(
            config.zone, config.zone_overprovisioning, config.slow_start, config.panic_threshold
        )
        self._clock = gateway.clock
        self._candidates: Mapping[str, Candidates] = {
            service: Candidates(
                gateway.keep(("balancer", service, key), make), preferences, gateway.clock
            )
            for service in gateway.services
        }
        kinds = {type(one.balancer) for one in self._candidates.values()}
        self._tells = any(
            kind.done is not Balancer.done or kind.answered is not Balancer.answered
            for kind in kinds
        )

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            NoInstance: no instance of the service may be used now.

        """
        service = exchange.service
        assert service is not None  # noqa: S101  # required
        candidates = self._candidates[service.name]
        available = service.available
        if available is candidates.plain and not exchange.tried:
            instance = candidates.balancer.pick(available, exchange)
        else:
            instance = candidates.pick(service, exchange)
        exchange.instance = instance
        if self._tells:
            return self._tell(candidates.balancer, instance, exchange, forward)
        return forward(exchange)

    async def _tell(
        self, balancer: Balancer, instance: Instance, exchange: Exchange, forward: Forward
    ) -> Response:
        """Forward, and let the balancer know how it went."""
        started = self._clock()
        upload = None
        if not isinstance(exchange.request.body, bytes):
            upload = exchange.request.body = Upload(exchange.request.body, self._clock)
        try:
            response = await forward(exchange)
        except BaseException as error:
            now = self._clock()
            # One that failed before its end has shown only how slow the client is.
            since = started if upload is None else upload.ended_at or now
            balancer.done(instance, now - since, error)
            raise
        since = started if upload is None else upload.ended_at or started
        balancer.done(instance, self._clock() - since, None)
        balancer.answered(instance, exchange, response)
        return response
