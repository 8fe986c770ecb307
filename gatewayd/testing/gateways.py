"""Gateways and filters that run without a server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gatewayd.cancellation import is_cancelled
from gatewayd.config.schema import RouteConfig, ServiceConfig
from gatewayd.errors import ConnectFailure, GatewayError
from gatewayd.gateway import Gateway, KeptState
from gatewayd.readiness import Readiness
from gatewayd.registry import Plugins
from gatewayd.routing.route import Route
from gatewayd.routing.table import RouteTable
from gatewayd.services.discovery import InstanceSpec
from gatewayd.services.instance import Instance
from gatewayd.services.service import Service
from gatewayd.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from gatewayd.audit import Audit
    from gatewayd.exchange import Response
    from gatewayd.filter import Filter
    from gatewayd.process.shared import SharedTable
    from gatewayd.redis.link import Redis
    from gatewayd.store.store import Store
    from gatewayd.timers import Clock
    from gatewayd.upstream.attempt import Attempt
    from gatewayd.upstream.pool import Pool

    FilterT = TypeVar("FilterT", bound=Filter[Any])


def make_gateway(
    *,
    clock: Clock | None = None,
    routes: Iterable[Mapping[str, Any]] = (),
    services: Mapping[str, Service] | None = None,
    plugins: Plugins | None = None,
    audit: Audit | None = None,
    store: Store | None = None,
    redis: Redis | None = None,
    shared: SharedTable | None = None,
) -> Gateway:
    """Make what the host gives to filters.

    Args:
        clock: Its clock; a :class:`FakeClock` where absent.
        routes: Routes, as they stand in the configuration.
        services: Services, by name.
        plugins: The installed plugins; those of this environment where absent.
        audit: Takes audit events; one that only logs them where absent.
        store: The SQL database; none where absent.
        redis: The connection to Redis; none where absent.
        shared: Memory that all workers share; that of a gateway with one worker, none, where
            absent.

    """
    configs = [RouteConfig.model_validate(route) for route in routes]
    clock = FakeClock() if clock is None else clock
    return Gateway(
        clock=clock,
        routes=RouteTable([Route(config, index) for index, config in enumerate(configs)]),
        services=services or {},
        plugins=Plugins() if plugins is None else plugins,
        kept=KeptState(shared=shared),
        readiness=Readiness(clock),
        audit=audit,
        store=store,
        redis=redis,
    )


class _Unreachable:
    """The connections to an instance that takes none."""

    active = 0

    async def send(self, attempt: Attempt) -> Response:  # noqa: ARG002  # as in Pool
        raise ConnectFailure("instances of the testing kit take no connections", sent=False)


def make_service(name: str, *instances: InstanceSpec | str) -> Service:
    """Make a service with instances that cannot be reached, whatever stands at their addresses.

    Args:
        name: Its name.
        instances: The instances, or their URLs.

    """
    service = Service(name, ServiceConfig())
    specs = (InstanceSpec(one) if isinstance(one, str) else one for one in instances)
    service.replace([Instance(name, one, cast("Pool", _Unreachable())) for one in specs])
    return service


@asynccontextmanager
async def running(
    plugin: type[FilterT],
    settings: Mapping[str, Any] | None = None,
    *,
    gateway: Gateway | None = None,
) -> AsyncIterator[FilterT]:
    """Construct and start a filter; at the end close it, and what the gateway keeps for it.

    Args:
        plugin: The filter class.
        settings: Its settings, as they stand in the configuration.
        gateway: What it is given; :func:`make_gateway` makes one where absent.

    Raises:
        GatewayError: its ``close`` lets out that a task was cancelled.

    """
    host = make_gateway() if gateway is None else gateway
    one = plugin(plugin.Config.model_validate(dict(settings or {})), host)
    try:
        await one.start()
        yield one
    finally:
        try:
            await one.close()
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise GatewayError(
                f"filter {one.name!r}: its close awaits what it has cancelled; suppress that there"
            ) from error
        failures = await host.close()
    if failures:
        raise ExceptionGroup(f"filter {one.name!r} keeps what cannot be closed", failures)
