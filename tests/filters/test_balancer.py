from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, nullcontext
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Self

import pytest
from pydantic import model_validator

from gatewayd import (
    Balancer,
    Body,
    ConfigError,
    ConnectFailure,
    Exchange,
    Gateway,
    Instance,
    InstanceSpec,
    IterBody,
    NoInstance,
    Response,
    Service,
    StrategyConfig,
    UpstreamReset,
)
from gatewayd.registry import Plugins, Registry
from gatewayd.testing import (
    FakeClock,
    Recorder,
    contract,
    make_exchange,
    make_gateway,
    make_service,
    running,
)
from gatewayd_filters.balancer import BalancerConfig, BalancerFilter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence


SPECS = [InstanceSpec(f"http://10.0.0.{number}:80") for number in (1, 2, 3)]


@pytest.fixture
def api() -> Service:
    return make_service("api", *SPECS)


@pytest.fixture
def gateway(api: Service) -> Gateway:
    return make_gateway(services={"api": api})


async def pick(balancer: BalancerFilter, service: Service) -> str:
    exchange = make_exchange(values={"service": service})
    await balancer(exchange, Recorder())
    return exchange.instance.url


@asynccontextmanager
async def second(gateway: Gateway, services: dict[str, Service]) -> AsyncIterator[BalancerFilter]:
    """Run the filter of the next generation, which shares live state with ``gateway``."""
    fresh = make_gateway(services=services)
    fresh._kept = gateway._kept
    async with running(BalancerFilter, gateway=fresh) as balancer:
        yield balancer


async def test_contract(gateway: Gateway, api: Service) -> None:
    await contract(BalancerFilter, values={"service": api}, gateway=gateway)


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


@pytest.mark.parametrize("strategy", ["round_robin", "p2c"])
async def test_another_attempt_goes_to_another_instance(
    gateway: Gateway, api: Service, strategy: str
) -> None:
    first, second, third = api.available
    async with running(BalancerFilter, {"strategy": strategy}, gateway=gateway) as balancer:
        await pick(balancer, api)
        for _ in range(10):
            exchange = make_exchange(values={"service": api, "tried": (first, third)})
            await balancer(exchange, Recorder())
            assert exchange.instance is second


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


async def test_an_unknown_strategy_is_an_error_with_the_nearest_name(gateway: Gateway) -> None:
    with pytest.raises(ConfigError, match=r"strategy: .*did you mean 'round_robin'"):
        async with running(BalancerFilter, {"strategy": "round_robbin"}, gateway=gateway):
            pass


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"name": "p2c", "decai": 5}, r"strategy\.decai: unknown key \(did you mean 'decay'\?\)"),
        ({"name": "p2c", "decay": 0}, r"strategy\.decay: expected greater than 0"),
        ({"name": "round_robin", "weight": 1}, r"strategy\.weight: unknown key"),
        ({"name": "p3c"}, r"strategy\.name: .*did you mean 'p2c'"),
        ({"decay": 5}, r"strategy: expected the `name`"),
        ({"name": 5}, r"strategy: expected the `name`"),
        ({"name": "sticky"}, r"strategy\.secret: required key is missing"),
    ],
)
async def test_settings_of_a_strategy_are_its_own(
    gateway: Gateway, strategy: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        async with running(BalancerFilter, {"strategy": strategy}, gateway=gateway):
            pass


@pytest.mark.parametrize(
    "strategy",
    [
        *(name for name in Plugins().balancers.names if name != "sticky"),
        {"name": "sticky", "secret": "0123456789abcdef"},
    ],
)
async def test_every_strategy_works(gateway: Gateway, api: Service, strategy: object) -> None:
    async with running(BalancerFilter, {"strategy": strategy}, gateway=gateway) as balancer:
        urls = {await pick(balancer, api) for _ in range(20)}
    assert urls <= {spec.url for spec in SPECS}


async def test_other_settings_of_a_strategy_make_another_balancer(
    gateway: Gateway, api: Service
) -> None:
    async with running(BalancerFilter, {"strategy": "p2c"}, gateway=gateway):
        for strategy in ("p2c", {"name": "p2c"}, {"name": "p2c", "decay": 5}):
            BalancerFilter(BalancerConfig(strategy=strategy), gateway)
        assert len(gateway._kept) == 2


async def test_secrets_of_a_strategy_are_in_no_repr() -> None:
    config = BalancerConfig(strategy={"name": "sticky", "secret": "hush hush hush hush"})
    assert "hush" not in repr(config)


class Unmade(Balancer):
    """A strategy that cannot be constructed."""

    name = "listener"

    def __init__(self, config: Any, gateway: Gateway) -> None:
        raise OSError("no file")


class Unreadable(Balancer):
    """A strategy with a validator that raises something else than it should."""

    name = "listener"

    class Config(StrategyConfig):
        """Settings."""

        @model_validator(mode="after")
        def _check(self) -> Self:
            raise KeyError("secret")


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        (Unmade, "balancer 'listener' cannot be constructed: OSError"),
        (Unreadable, "balancer 'listener': a validator of its settings raised KeyError, not Value"),
    ],
)
async def test_a_strategy_that_cannot_be_used_is_named(
    api: Service, strategy: type[Balancer], says: str
) -> None:
    gateway, _ = listening(api, strategy)
    with pytest.raises(ConfigError, match=f"^strategy: {says}"):
        async with running(BalancerFilter, {"strategy": "listener"}, gateway=gateway):
            pass


# --- telling the balancer -------------------------------------------------------------------------


class Listener(Balancer):
    """A strategy that writes down what it is told."""

    name = "listener"

    def __init__(self, config: Any, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self.told: list[tuple[str, float, str | None]] = []

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:
        return instances[0]

    def done(self, instance: Instance, seconds: float, error: BaseException | None) -> None:
        self.told.append((instance.url, seconds, type(error).__name__ if error else None))

    def answered(self, instance: Instance, exchange: Exchange, response: Response) -> None:
        response.headers.add("X-Instance", instance.url)


def listening(api: Service, strategy: type[Balancer] = Listener) -> tuple[Gateway, FakeClock]:
    """Make a gateway in which the strategy ``listener`` is installed."""
    point = EntryPoint("listener", f"{__name__}:Listener", "gatewayd.balancers")
    balancers = Registry("gatewayd.balancers", Balancer, [point])
    balancers._loaded["listener"] = strategy  # this module has no importable name
    clock = FakeClock()
    plugins = Plugins(balancers=balancers)
    return make_gateway(clock=clock, services={"api": api}, plugins=plugins), clock


def listener_of(balancer: BalancerFilter) -> Listener:
    one = balancer._candidates["api"].balancer
    assert isinstance(one, Listener)
    return one


async def test_a_balancer_learns_how_long_an_attempt_took(api: Service) -> None:
    gateway, clock = listening(api)

    async def forward(_: Exchange) -> Response:
        clock.advance(0.25)
        return Response(200)

    async with running(BalancerFilter, {"strategy": "listener"}, gateway=gateway) as balancer:
        response = await balancer(make_exchange(values={"service": api}), forward)
        assert listener_of(balancer).told == [(SPECS[0].url, 0.25, None)]
    assert response.headers.get("X-Instance") == SPECS[0].url


async def _slow_pieces(clock: FakeClock, seconds: float) -> AsyncGenerator[bytes, None]:
    for piece in (b"a", b"b"):
        clock.advance(seconds)
        yield piece


@pytest.mark.parametrize(
    ("pieces", "error", "seconds"),
    [
        (2, None, 0.25),
        (2, UpstreamReset("gone", sent=True), 0.25),
        (1, asyncio.CancelledError(), 0.0),  # it left while it was sending
        (1, None, 30.25),  # an early answer came when the instance wanted
    ],
)
async def test_the_slowness_of_a_client_is_none_of_the_instance(
    api: Service, pieces: int, error: BaseException | None, seconds: float
) -> None:
    gateway, clock = listening(api)

    async def forward(exchange: Exchange) -> Response:
        body = exchange.request.body
        assert isinstance(body, Body)
        if pieces == 2:
            assert b"".join([piece async for piece in body]) == b"ab"
        else:
            await body.read()
        clock.advance(0.25)
        if error is not None:
            raise error
        return Response(200)

    async with running(BalancerFilter, {"strategy": "listener"}, gateway=gateway) as balancer:
        body = IterBody(_slow_pieces(clock, 30.0))
        with nullcontext() if error is None else pytest.raises(type(error)):
            await balancer(make_exchange("POST", body=body, values={"service": api}), forward)
        assert [told[1] for told in listener_of(balancer).told] == [seconds]


@pytest.mark.parametrize(
    "error", [ConnectFailure("refused", sent=False), asyncio.CancelledError(), ValueError("bug")]
)
async def test_a_balancer_learns_once_why_an_attempt_failed(
    api: Service, error: BaseException
) -> None:
    gateway, clock = listening(api)

    async def forward(_: Exchange) -> Response:
        clock.advance(1.5)
        raise error

    async with running(BalancerFilter, {"strategy": "listener"}, gateway=gateway) as balancer:
        with pytest.raises(type(error)):
            await balancer(make_exchange(values={"service": api}), forward)
        assert listener_of(balancer).told == [(SPECS[0].url, 1.5, type(error).__name__)]


async def test_a_sticky_client_gets_its_cookie_through_the_filter(
    gateway: Gateway, api: Service
) -> None:
    settings = {"strategy": {"name": "sticky", "secret": "0123456789abcdef", "cookie": "home"}}
    async with running(BalancerFilter, settings, gateway=gateway) as balancer:
        first = make_exchange(values={"service": api})
        response = await balancer(first, Recorder())
        sent = (response.headers.get("Set-Cookie") or "").partition(";")[0]
        again = make_exchange(values={"service": api}, headers={"Cookie": sent})
        response = await balancer(again, Recorder())
    assert sent.startswith("home=")
    assert again.instance is first.instance
    assert "Set-Cookie" not in response.headers
