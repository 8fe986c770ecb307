"""Pick the instance that an attempt goes to.

How it is picked is a strategy: a balancer, found by entry point like a filter. Each service has one
of its own for every strategy that its routes ask for, which survives reloads.
"""

from __future__ import annotations

from gatewayd import (
    INSTANCE,
    SERVICE,
    ConfigError,
    ConfigIssue,
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    Gateway,
    GatewayError,
    NoInstance,
    Response,
)


class BalancerConfig(FilterConfig):
    """Settings of `balancer`."""

    strategy: str = "round_robin"
    """Name of an installed balancer. `gatewayd plugins list` shows them."""


class BalancerFilter(Filter[BalancerConfig]):
    """Pick an available instance of the service."""

    name = "balancer"
    Config = BalancerConfig
    requires = frozenset({SERVICE})
    provides = frozenset({INSTANCE})

    def __init__(self, config: BalancerConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        try:
            strategy = gateway.plugins.balancers.load(config.strategy)
        except GatewayError as error:
            raise ConfigError(ConfigIssue(str(error), key="strategy")) from error
        self._balancers = {
            service: gateway.keep(("balancer", service, config.strategy), strategy)
            for service in gateway.services
        }

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            NoInstance: no instance of the service may be used now.

        """
        service = exchange[SERVICE]
        available = service.available
        if not available:
            raise NoInstance
        exchange[INSTANCE] = self._balancers[service.name].pick(available, exchange)
        return await forward(exchange)
