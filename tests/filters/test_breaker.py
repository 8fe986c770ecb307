from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gatewayd import (
    BreakerChange,
    BreakerOpen,
    ConnectFailure,
    InstanceSpec,
    IterBody,
    PoolExhausted,
    Reject,
    Response,
    UpstreamTimeout,
)
from gatewayd.testing import FakeClock, Recorder, contract, make_exchange, make_gateway, running
from gatewayd.testing.gateways import make_service
from gatewayd_filters.breaker import BreakerConfig, BreakerFilter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gatewayd import Exchange, Gateway, Service

SETTINGS = {"consecutive_failures": 2, "half_open_requests": 1, "open_for": 5}
TIMEOUT = UpstreamTimeout("late", sent=True)
SLOW_CLIENT = UpstreamTimeout("late", sent=True)
SLOW_CLIENT.instance_failed = False


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def api() -> Service:
    return make_service("api", "http://10.0.0.1:80", "http://10.0.0.2:80")


@pytest.fixture
def gateway(api: Service, clock: FakeClock) -> Gateway:
    return make_gateway(services={"api": api}, clock=clock)


def exchange_to(service: Service, index: int = 0) -> Exchange:
    return make_exchange(values={"service": service, "instance": service.available[index]})


async def attempt(one: BreakerFilter, exchange: Exchange, forward: Recorder) -> str:
    """Run an exchange; return its status, or the code of what refused it."""
    try:
        response = await one(exchange, forward)
    except Reject as reject:
        return reject.code
    return str(response.status)


async def test_contract(gateway: Gateway, api: Service) -> None:
    values = {"service": api, "instance": api.available[0]}
    await contract(BreakerFilter, values=values, gateway=gateway)


@pytest.mark.parametrize(
    ("arguments", "left_open"),
    [
        ({}, set()),
        ({"service": "api"}, set()),
        ({"service": "other"}, {"http://10.0.0.1:80", "http://10.0.0.2:80"}),
        ({"target": "http://10.0.0.1:80"}, {"http://10.0.0.2:80"}),
        ({"service": "other", "target": "http://10.0.0.1:80"},
         {"http://10.0.0.1:80", "http://10.0.0.2:80"}),
    ],
    ids=str,
)  # fmt: skip
async def test_an_operator_resets_those_that_were_named(
    gateway: Gateway, api: Service, arguments: dict[str, str], left_open: set[str]
) -> None:
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as one:
        for index in (0, 0, 1, 1):
            await attempt(one, exchange_to(api, index), Recorder(TIMEOUT))
        before = await gateway.admin.run("breakers.list", {})
        assert [each["state"] for each in before] == ["open", "open"]
        await gateway.admin.run("breakers.reset", arguments)
        after = await gateway.admin.run("breakers.list", {})
    assert {each["target"] for each in after if each["state"] == "open"} == left_open


async def test_an_open_breaker_refuses_at_once_with_retry_after(
    gateway: Gateway, api: Service
) -> None:
    forward = Recorder(TIMEOUT)
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as one:
        codes = [await attempt(one, exchange_to(api), forward) for _ in range(2)]
        with pytest.raises(BreakerOpen) as caught:
            await one(exchange_to(api), forward)
    assert codes == ["upstream_timeout"] * 2
    assert len(forward.exchanges) == 2
    assert caught.value.headers == [("Retry-After", "5")]


@pytest.mark.parametrize(
    ("answer", "settings", "opens"),
    [
        (TIMEOUT, {}, True),
        (ConnectFailure("refused", sent=False), {}, True),
        (PoolExhausted("256 in use", sent=False), {}, False),
        (SLOW_CLIENT, {}, False),
        (Reject(403, "forbidden"), {}, False),
        (RuntimeError("a filter's own"), {}, False),
        (asyncio.CancelledError(), {}, False),
        (Response(500), {}, True),
        (Response(404), {}, False),
        (Response(500), {"statuses": [503]}, False),
        (Response(429), {"statuses": ["5xx", 429]}, True),
    ],
    ids=repr,
)
async def test_what_is_a_failure(
    gateway: Gateway, api: Service, answer: Any, settings: dict[str, Any], opens: bool
) -> None:
    async def forward(exchange: Exchange) -> Response:
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Response)
        return answer

    async with running(BreakerFilter, {**SETTINGS, **settings}, gateway=gateway) as one:
        for _ in range(2):
            try:
                await one(exchange_to(api), forward)
            except BaseException as error:
                assert error is answer  # noqa: PT017  # what it raises is a parameter
        after = await attempt(one, exchange_to(api), Recorder())
    assert after == ("breaker_open" if opens else "200")


@pytest.mark.parametrize(("scope", "other"), [("instance", "200"), ("service", "breaker_open")])
async def test_scope(gateway: Gateway, api: Service, scope: str, other: str) -> None:
    async with running(BreakerFilter, {**SETTINGS, "scope": scope}, gateway=gateway) as one:
        for _ in range(2):
            await attempt(one, exchange_to(api, 0), Recorder(TIMEOUT))
        assert await attempt(one, exchange_to(api, 0), Recorder()) == "breaker_open"
        assert await attempt(one, exchange_to(api, 1), Recorder()) == other


async def test_a_recovered_instance_is_used_again(
    gateway: Gateway, api: Service, clock: FakeClock
) -> None:
    forward = Recorder(TIMEOUT, TIMEOUT, Response(200))
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as one:
        for _ in range(2):
            await attempt(one, exchange_to(api), forward)
        clock.advance(5)
        assert [await attempt(one, exchange_to(api), forward) for _ in range(2)] == ["200"] * 2


async def test_slow_answers_open_it(gateway: Gateway, api: Service, clock: FakeClock) -> None:
    def slow(exchange: Exchange) -> Response:
        clock.advance(1)
        return Response(200)

    settings = {"min_requests": 2, "slow_after": 1}
    async with running(BreakerFilter, settings, gateway=gateway) as one:
        codes = [await attempt(one, exchange_to(api), Recorder(slow)) for _ in range(3)]
    assert codes == ["200", "200", "breaker_open"]


@pytest.mark.parametrize(
    ("seconds", "body", "code"),
    [(1, None, "breaker_open"), (0.5, None, "200"), (1, "upload", "200")],
    ids=["as long as a slow one", "shorter", "an upload"],
)
async def test_what_is_given_up_after_so_long_was_slow(
    gateway: Gateway, api: Service, clock: FakeClock, seconds: float, body: str | None, code: str
) -> None:
    async def overtaken(exchange: Exchange) -> Response:
        clock.advance(seconds)
        raise asyncio.CancelledError

    settings = {"min_requests": 2, "slow_after": 1}
    async with running(BreakerFilter, settings, gateway=gateway) as one:
        for _ in range(2):
            exchange = exchange_to(api)
            if body is not None:
                exchange.request.body = IterBody(upload())
            with pytest.raises(asyncio.CancelledError):
                await one(exchange, overtaken)
        assert await attempt(one, exchange_to(api), Recorder()) == code


async def test_uploads_of_slow_clients_are_not_slow_answers(
    gateway: Gateway, api: Service, clock: FakeClock
) -> None:
    def slow(exchange: Exchange) -> Response:
        clock.advance(1)
        return Response(200)

    settings = {"min_requests": 2, "slow_after": 1}
    async with running(BreakerFilter, settings, gateway=gateway) as one:
        codes = []
        for _ in range(3):
            exchange = exchange_to(api)
            exchange.request.body = IterBody(upload())
            codes.append(await attempt(one, exchange, Recorder(slow)))
    assert codes == ["200"] * 3


async def upload() -> AsyncGenerator[bytes, None]:
    yield b"piece"


async def test_its_state_survives_a_reload(
    gateway: Gateway, api: Service, clock: FakeClock
) -> None:
    fresh = make_gateway(services={"api": api}, clock=clock)
    fresh._kept = gateway._kept
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as old:
        for _ in range(2):
            await attempt(old, exchange_to(api), Recorder(TIMEOUT))
        async with running(BreakerFilter, SETTINGS, gateway=fresh) as new:
            assert await attempt(new, exchange_to(api), Recorder()) == "breaker_open"


async def test_other_settings_are_another_breaker(gateway: Gateway, api: Service) -> None:
    other = {**SETTINGS, "open_for": 6}
    async with (
        running(BreakerFilter, SETTINGS, gateway=gateway) as one,
        running(BreakerFilter, other, gateway=make_gateway(services={"api": api})) as two,
    ):
        for _ in range(2):
            await attempt(one, exchange_to(api), Recorder(TIMEOUT))
        assert await attempt(two, exchange_to(api), Recorder()) == "200"


async def test_breakers_of_instances_that_are_gone_are_dropped(
    gateway: Gateway, api: Service
) -> None:
    later = make_service("api", InstanceSpec("http://10.0.0.3:80")).available
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as one:
        await attempt(one, exchange_to(api), Recorder())
        api.replace(later)
        await attempt(one, exchange_to(api), Recorder())
        assert list(one._breakers["api"]) == ["http://10.0.0.3:80"]


def shown(gateway: Gateway) -> dict[str, float]:
    """What the gauge shows, by target."""
    families = {family.name: family for family in gateway.metrics.read()}
    gauge = families["gatewayd_breaker_state"]
    return {labels[1]: cell.value for labels, cell in gauge.cells().items()}  # type: ignore[union-attr]  # no histogram


async def test_the_gauge_shows_the_present_state(
    gateway: Gateway, api: Service, clock: FakeClock
) -> None:
    forward = Recorder(TIMEOUT, TIMEOUT, Response(200))
    url = api.available[0].url
    seen = []
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as one:
        for _ in range(3):
            clock.advance(5)
            await attempt(one, exchange_to(api), forward)
            seen.append(shown(gateway))
    assert seen == [{url: 0}, {url: 2}, {url: 0}]


async def opened(gateway: Gateway, one: BreakerFilter, service: Service) -> None:
    """Open the breaker of the first instance."""
    for _ in range(2):
        await attempt(one, exchange_to(service), Recorder(TIMEOUT))
    assert shown(gateway)[service.available[0].url] == 2


async def test_a_breaker_is_shown_no_more_when_its_instance_is_gone(
    gateway: Gateway, api: Service
) -> None:
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as one:
        await opened(gateway, one, api)
        api.replace(api.available[1:])
        assert shown(gateway) == {}


async def test_a_breaker_is_listed_no_more_when_its_instance_is_gone(
    gateway: Gateway, api: Service
) -> None:
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as one:
        await opened(gateway, one, api)
        api.replace(api.available[1:])
        assert await one._list({}) == []


@pytest.mark.parametrize("change", [{"open_for": 6}, None], ids=["settings", "no service"])
async def test_a_breaker_is_shown_no_more_when_a_reload_has_dropped_it(
    gateway: Gateway, api: Service, clock: FakeClock, change: dict[str, Any] | None
) -> None:
    other = make_service("other", "http://10.0.0.9:80")
    fresh = make_gateway(services={"other": other} if change is None else {"api": api}, clock=clock)
    fresh._kept, fresh.metrics = gateway._kept, gateway.metrics
    async with running(BreakerFilter, {**SETTINGS, **(change or {})}, gateway=fresh):
        async with running(BreakerFilter, SETTINGS, gateway=gateway) as old:
            await opened(gateway, old, api)
        assert shown(fresh) == {}


async def test_a_retiring_generation_does_not_drop_breakers_of_new_instances(
    gateway: Gateway, api: Service, clock: FakeClock
) -> None:
    after = make_service("api", "http://10.0.0.3:80")
    fresh = make_gateway(services={"api": after}, clock=clock)
    fresh._kept, fresh.metrics = gateway._kept, gateway.metrics
    async with (
        running(BreakerFilter, SETTINGS, gateway=gateway) as old,
        running(BreakerFilter, SETTINGS, gateway=fresh) as new,
    ):
        await opened(fresh, new, after)
        await attempt(old, exchange_to(api), Recorder())
        assert await attempt(new, exchange_to(after), Recorder()) == "breaker_open"


async def test_changes_are_events_of_the_gateway(gateway: Gateway, api: Service) -> None:
    changes: list[BreakerChange] = []
    gateway.events.listen(BreakerChange, changes.append)
    async with running(BreakerFilter, SETTINGS, gateway=gateway) as one:
        for _ in range(2):
            await attempt(one, exchange_to(api), Recorder(TIMEOUT))
    assert [(one.name, one.after.value) for one in changes] == [
        ("http://10.0.0.1:80 of api", "open")
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failure_ratio": 0}, "nothing opens the breaker"),
        ({"window_requests": 5}, "window_requests is below min_requests"),
        ({"statuses": ["6xx"]}, "statuses"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BreakerConfig.model_validate(settings)
