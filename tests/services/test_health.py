"""Health of instances as balancers see it, with the services of real generations."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.body import Body
from gatewayd.errors import ConnectFailure, PoolExhausted, UpstreamError, UpstreamTimeout
from gatewayd.headers import Headers
from gatewayd.services.discovery import InstanceSpec
from gatewayd.services.health import HealthChange
from gatewayd.testing import FakeClock, read_body
from tests.support.sick_origin import SickOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.services.instance import Instance
    from gatewayd.services.service import Service
    from tests.services.conftest import Generations

OUTLIER = {"consecutive_failures": 2, "base_ejection": 10}
HEALTH = {"path": "/health?deep=1", "interval": 0.01, "jitter": 0, "unhealthy_after": 2}


def config(*urls: str, **more: Any) -> dict[str, Any]:
    return {"api": {"instances": [{"url": url} for url in urls], **more}}


@pytest.fixture
def clock(generations: Generations) -> FakeClock:
    clock = FakeClock()
    generations.sweeper.clock = clock
    return clock


@pytest.fixture
async def sick() -> AsyncIterator[SickOrigin]:
    async with SickOrigin() as origin:
        yield origin


@pytest.fixture
async def sound() -> AsyncIterator[SickOrigin]:
    async with SickOrigin() as origin:
        yield origin


async def send(instance: Instance, times: int = 1) -> None:
    for _ in range(times):
        with suppress(ConnectFailure):
            response = await instance.send("GET", "/", Headers.of([("Host", "api")]))
            await response.discard()


def urls(service: Service) -> list[str]:
    return [one.url for one in service.available]


class Changes:
    """Hears of changes, and waits for them."""

    def __init__(self, generations: Generations) -> None:
        self.heard: list[tuple[str, str]] = []
        self._news = asyncio.Event()
        generations.kept.events.listen(HealthChange, self._hear)

    def _hear(self, change: HealthChange) -> None:
        self.heard.append((change.url, change.change))
        self._news.set()

    async def wait_for(self, url: str, change: str) -> None:
        async with asyncio.timeout(10):
            while (url, change) not in self.heard:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def changes(generations: Generations) -> Changes:
    return Changes(generations)


async def test_what_configuration_calls_unhealthy_is_not_available(
    generations: Generations,
) -> None:
    instances = [{"url": "http://10.0.0.1:80", "healthy": False}, {"url": "http://10.0.0.2:80"}]
    async with generations.build({"api": {"instances": instances}}) as services:
        await services["api"].start()
        assert urls(services["api"]) == ["http://10.0.0.2:80"]
        assert len(services["api"].usable) == 1


@pytest.mark.parametrize("status", [500, 503])
async def test_an_instance_that_fails_is_ejected_and_comes_back(
    generations: Generations,
    clock: FakeClock,
    sick: SickOrigin,
    sound: SickOrigin,
    changes: Changes,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    sick.respond(status)
    async with generations.build(config(sick.url, sound.url, outlier=OUTLIER)) as services:
        api = services["api"]
        await api.start()
        await send(api.instances[sick.url], times=2)
        assert urls(api) == [sound.url]
        assert len(api.usable) == 2
        assert api.instances[sick.url].ejected_until == clock() + 10
        clock.advance(10)
        generations.sweeper._sweep()
        assert urls(api) == [sick.url, sound.url]
        assert api.instances[sick.url].since == clock()
    assert changes.heard == [(sick.url, "ejected"), (sick.url, "returned")]
    assert f"service api: instance {sick.url} ejected (for 10 s)" in caplog.text


async def test_an_instance_that_cannot_be_reached_is_ejected(
    generations: Generations, clock: FakeClock, sound: SickOrigin
) -> None:
    async with SickOrigin() as gone:
        url = gone.url
    async with generations.build(config(url, sound.url, outlier=OUTLIER)) as services:
        await services["api"].start()
        await send(services["api"].instances[url], times=2)
        assert urls(services["api"]) == [sound.url]


async def test_statuses_that_are_the_clients_fault_eject_nobody(
    generations: Generations, sick: SickOrigin, sound: SickOrigin
) -> None:
    sick.respond(404)
    async with generations.build(config(sick.url, sound.url, outlier=OUTLIER)) as services:
        await services["api"].start()
        await send(services["api"].instances[sick.url], times=3)
        assert len(services["api"].available) == 2


async def test_a_full_pool_ejects_nobody(generations: Generations, sick: SickOrigin) -> None:
    sick.answer = None
    settings = {"outlier": OUTLIER, "max_connections": 1, "max_pending": 0}
    async with generations.build(config(sick.url, "http://10.0.0.2:80", **settings)) as services:
        await services["api"].start()
        instance = services["api"].instances[sick.url]
        busy = asyncio.ensure_future(send(instance))
        await sick.asked(1)
        for _ in range(3):
            with pytest.raises(PoolExhausted):
                await instance.send("GET", "/", Headers())
        assert len(services["api"].available) == 2
        busy.cancel()
        await asyncio.wait([busy])


class Stalled(Body):
    """The body of a client that sends no byte of it."""

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().create_future()

    async def aclose(self) -> None:
        """There is nothing to close."""


async def test_clients_that_stall_until_the_deadline_eject_nobody(
    generations: Generations, sick: SickOrigin, sound: SickOrigin
) -> None:
    sick.answer = None
    async with generations.build(config(sick.url, sound.url, outlier=OUTLIER)) as services:
        await services["api"].start()
        instance = services["api"].instances[sick.url]
        for _ in range(3):
            deadline = generations.sweeper.clock() + 0.01
            with pytest.raises(UpstreamTimeout):
                await instance.send("POST", "/", Headers(), Stalled(5), deadline=deadline)
        assert len(services["api"].available) == 2


@pytest.mark.parametrize(
    ("answer", "available"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense", 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n", 2),
    ],
)
async def test_how_a_body_ends_counts(
    generations: Generations, sick: SickOrigin, sound: SickOrigin, answer: bytes, available: int
) -> None:
    sick.answer = answer
    async with generations.build(config(sick.url, sound.url, outlier=OUTLIER)) as services:
        await services["api"].start()
        for _ in range(2):
            response = await services["api"].instances[sick.url].send("GET", "/", Headers())
            with suppress(UpstreamError):
                await read_body(response)
        assert len(services["api"].available) == available


async def test_an_ejection_survives_a_reload_that_changes_other_settings(
    generations: Generations, clock: FakeClock, sick: SickOrigin, sound: SickOrigin
) -> None:
    sick.respond(500)
    before = config(sick.url, sound.url, outlier=OUTLIER)
    after = config(sick.url, sound.url, outlier=OUTLIER, max_connections=7)
    async with generations.build(before) as old:
        await old["api"].start()
        await send(old["api"].instances[sick.url], times=2)
        async with generations.build(after) as new:
            await new["api"].start()
            assert new["api"] is not old["api"]
            assert urls(new["api"]) == [sound.url]
            clock.advance(10)
            generations.sweeper._sweep()
            assert urls(old["api"]) == urls(new["api"]) == [sick.url, sound.url]


async def test_what_is_known_of_an_instance_goes_with_it(
    generations: Generations, clock: FakeClock, sick: SickOrigin, sound: SickOrigin
) -> None:
    sick.respond(500)
    async with generations.build(config(sick.url, sound.url, outlier=OUTLIER)) as services:
        api = services["api"]
        await api.start()
        await send(api.instances[sick.url], times=2)
        api.update([InstanceSpec(sound.url)])
        api.update([InstanceSpec(sound.url), InstanceSpec(sick.url)])
        assert urls(api) == [sound.url, sick.url]


async def test_what_exchanges_show_of_an_instance_that_has_gone_is_not_kept(
    generations: Generations,
    clock: FakeClock,
    sick: SickOrigin,
    sound: SickOrigin,
    changes: Changes,
) -> None:
    sick.respond(500)
    others = [sound.url, "http://127.0.0.1:9"]
    async with generations.build(config(sick.url, *others, outlier=OUTLIER)) as services:
        api = services["api"]
        await api.start()
        gone = api.instances[sick.url]
        await send(gone)
        api.update([InstanceSpec(url) for url in others])
        await send(gone, times=2)
        api.update([InstanceSpec(url) for url in (*others, sick.url)])
        assert urls(api) == [*others, sick.url]
        assert changes.heard == []


async def test_checks_take_an_instance_out_and_back(
    generations: Generations,
    sick: SickOrigin,
    sound: SickOrigin,
    changes: Changes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gatewayd.health")
    sick.respond(503)
    async with generations.build(config(sick.url, sound.url, health=HEALTH)) as services:
        api = services["api"]
        await api.start()
        await changes.wait_for(sick.url, "unhealthy")
        assert urls(api) == [sound.url]
        assert not api.instances[sick.url].checked
        sick.respond(204)
        await changes.wait_for(sick.url, "healthy")
        assert urls(api) == [sick.url, sound.url]
    assert f"instance {sick.url} unhealthy (status 503)" in caplog.text
    assert f"instance {sick.url} healthy (2 checks succeeded)" in caplog.text
    assert sound.url not in {url for url, _ in changes.heard}


async def test_what_checks_found_survives_a_reload(
    generations: Generations, sick: SickOrigin, sound: SickOrigin, changes: Changes
) -> None:
    sick.respond(500)
    settings = config(sick.url, sound.url, health=HEALTH)
    async with generations.build(settings) as old:
        await old["api"].start()
        await changes.wait_for(sick.url, "unhealthy")
        fresh = config(sick.url, sound.url, health=HEALTH, max_connections=7)
        async with generations.build(fresh) as new:
            await new["api"].start()
            assert urls(new["api"]) == [sound.url]
