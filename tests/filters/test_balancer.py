from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gatewayd import INSTANCE, SERVICE, ConfigError, Instance, InstanceSpec, NoInstance, Service
from gatewayd.config.schema import ServiceConfig
from gatewayd.testing import Recorder, contract, make_exchange, make_gateway, running
from gatewayd_filters.balancer import BalancerFilter
from gatewayd_filters.balancers.round_robin import RoundRobin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd import Gateway


class NoPool:
    """A pool that no test gets to use."""


def make_service(name: str, *specs: InstanceSpec) -> Service:
    service = Service(name, ServiceConfig())
    service.replace([Instance(name, spec, NoPool()) for spec in specs])  # type: ignore[arg-type]
    return service


SPECS = [InstanceSpec(f"http://10.0.0.{number}:80") for number in (1, 2, 3)]


@pytest.fixture
def api() -> Service:
    return make_service("api", *SPECS)


@pytest.fixture
def gateway(api: Service) -> Gateway:
    return make_gateway(services={"api": api})


async def pick(balancer: BalancerFilter, service: Service) -> str:
    exchange = make_exchange(values={SERVICE: service})
    await balancer(exchange, Recorder())
    return exchange[INSTANCE].url


@asynccontextmanager
async def second(gateway: Gateway, services: dict[str, Service]) -> AsyncIterator[BalancerFilter]:
    """Run the filter of the next generation, which shares live state with ``gateway``."""
    fresh = make_gateway(services=services)
    fresh._kept = gateway._kept
    async with running(BalancerFilter, gateway=fresh) as balancer:
        yield balancer


async def test_contract(gateway: Gateway, api: Service) -> None:
    await contract(BalancerFilter, values={SERVICE: api}, gateway=gateway)


async def test_instances_get_equal_shares(gateway: Gateway, api: Service) -> None:
    async with running(BalancerFilter, gateway=gateway) as balancer:
        picks = Counter([await pick(balancer, api) for _ in range(30)])
    assert picks == dict.fromkeys((spec.url for spec in SPECS), 10)


async def test_an_instance_that_is_not_available_is_not_picked() -> None:
    service = make_service("api", SPECS[0], InstanceSpec("http://10.0.0.9:80", healthy=False))
    gateway = make_gateway(services={"api": service})
    async with running(BalancerFilter, gateway=gateway) as balancer:
        assert {await pick(balancer, service) for _ in range(5)} == {SPECS[0].url}


async def test_a_service_without_instance_is_503(gateway: Gateway, api: Service) -> None:
    api.replace([])
    async with running(BalancerFilter, gateway=gateway) as balancer:
        with pytest.raises(NoInstance) as caught:
            await pick(balancer, api)
    assert (caught.value.status, caught.value.code) == (503, "no_instance")


async def test_services_do_not_share_their_turns() -> None:
    one, two = make_service("one", *SPECS), make_service("two", *SPECS)
    gateway = make_gateway(services={"one": one, "two": two})
    async with running(BalancerFilter, gateway=gateway) as balancer:
        picks = [(await pick(balancer, one), await pick(balancer, two)) for _ in range(3)]
    assert len({first for first, _ in picks}) == len({second for _, second in picks}) == 3


async def test_a_reload_goes_on_with_the_next_instance(gateway: Gateway, api: Service) -> None:
    async with (
        running(BalancerFilter, gateway=gateway) as before,
        second(gateway, {"api": api}) as after,
    ):
        picks = [await pick(before, api), await pick(after, api), await pick(before, api)]
    assert len(set(picks)) == 3


async def test_workers_begin_at_different_places(api: Service) -> None:
    exchange = make_exchange()
    firsts = {RoundRobin().pick(api.available, exchange).url for _ in range(60)}
    assert len(firsts) == 3


async def test_an_unknown_strategy_is_an_error_with_the_nearest_name(gateway: Gateway) -> None:
    with pytest.raises(ConfigError, match=r"strategy: .*did you mean 'round_robin'"):
        async with running(BalancerFilter, {"strategy": "round_robbin"}, gateway=gateway):
            pass
