from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.errors import GatewayError
from gatewayd.services import followed
from gatewayd.services.discovery import Discovery, InstanceSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd.services.followed import FollowedService
    from tests.services.conftest import Generations

A, B, C = (f"http://10.0.0.{number}:80" for number in (1, 2, 3))


class Told(Discovery):
    """A discovery that tells what the test wants, when it wants."""

    name = "told"
    last: Told

    def __init__(self, service: str, config: Any) -> None:
        super().__init__(service, config)
        self.starts = 0
        self.closed = False
        Told.last = self

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        self.starts += 1
        self.update = update
        update([InstanceSpec(A), InstanceSpec(B)])

    async def close(self) -> None:
        self.closed = True


class Late(Told):
    """A discovery whose first answer comes when the test allows it."""

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        self.answer = asyncio.get_running_loop().create_future()
        update(await self.answer)


class Failing(Told):
    """A discovery that fails to start."""

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        raise RuntimeError("no such thing")


class Cancelled(Told):
    """A discovery that fails to start, as what it waits for was cancelled."""

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        raise asyncio.CancelledError


class Unclosable(Told):
    """A discovery that fails to close."""

    async def close(self) -> None:
        raise RuntimeError("still busy")


CONFIG = {"api": {"discovery": "told"}}


async def ended(service: FollowedService) -> None:
    """Return once the discovery's start has ended, and what waits for it has run."""
    assert service._following is not None
    await asyncio.wait([service._following])


@pytest.fixture(autouse=True)
def _told_is_installed(generations: Generations) -> None:
    generations.install(Told)


async def test_instances_are_what_discovery_tells(generations: Generations) -> None:
    async with generations.build(CONFIG) as services:
        await services["api"].start()
        assert list(services["api"].instances) == [A, B]
        assert [instance.url for instance in services["api"].available] == [A, B]


async def test_an_instance_that_stays_keeps_object_and_pool(generations: Generations) -> None:
    async with generations.build(CONFIG) as services:
        service = services["api"]
        await service.start()
        before = service.instances[B]
        pool = before.pool
        Told.last.update([InstanceSpec(C), InstanceSpec(B, weight=3, zone="az2", healthy=False)])
        after = service.instances[B]
        assert after is before
        assert after.pool is pool
        assert (after.weight, after.zone, after.healthy) == (3, "az2", False)
        assert [instance.url for instance in service.available] == [C]


async def test_the_pool_of_an_instance_that_is_gone_is_closed(generations: Generations) -> None:
    async with generations.build(CONFIG) as services:
        await services["api"].start()
        pool = services["api"].instances[A].pool
        kept = len(generations.kept)
        Told.last.update([InstanceSpec(B)])
        assert pool._closed
        assert len(generations.kept) == kept - 1


async def test_an_instance_told_twice_is_one_with_both_weights(
    generations: Generations, caplog: pytest.LogCaptureFixture
) -> None:
    async with generations.build(CONFIG) as services:
        await services["api"].start()
        Told.last.update([InstanceSpec(A, weight=2), InstanceSpec(A + "/", weight=3)])
        assert [(one.url, one.weight) for one in services["api"].available] == [(A, 5)]
    assert "there twice" in caplog.text


@pytest.mark.parametrize(
    "url", ["ftp://10.0.0.9", "http://user:hunter2@10.0.0.9", "", "http://x:y", "http://10.0.0.9:0"]
)
async def test_what_is_no_instance_is_left_out_and_logged_without_password(
    generations: Generations, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    async with generations.build(CONFIG) as services:
        await services["api"].start()
        Told.last.update([InstanceSpec(A), InstanceSpec(url)])
        assert list(services["api"].instances) == [A]
    assert "no URL of an instance" in caplog.text
    assert "hunter2" not in caplog.text


async def test_closing_stops_discovery_and_ignores_late_news(generations: Generations) -> None:
    async with generations.build(CONFIG) as services:
        await services["api"].start()
    discovery = Told.last
    assert discovery.closed
    discovery.update([InstanceSpec(C)])
    assert services["api"].available == ()


async def test_a_discovery_that_fails_to_close_keeps_no_connections(
    generations: Generations,
) -> None:
    generations.install(Unclosable)
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(generations.build(CONFIG))
        await services["api"].start()
        pool = services["api"].instances[A].pool
        with pytest.raises(AssertionError, match="still busy"):
            await stack.aclose()
    assert pool._closed
    assert len(generations.kept) == 0


async def test_discovery_starts_once_for_all_generations(generations: Generations) -> None:
    async with generations.build(CONFIG) as before:
        await before["api"].start()
        async with generations.build(CONFIG) as after:
            await after["api"].start()
            assert after["api"] is before["api"]
            assert Told.last.starts == 1
            assert not Told.last.closed


async def test_start_goes_on_without_a_late_answer_which_still_counts(
    generations: Generations, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "FIRST_ANSWER_SECONDS", 0.01)
    generations.install(Late)
    async with generations.build(CONFIG) as services:
        service = services["api"]
        await service.start()
        assert service.available == ()
        assert "no answer from discovery yet" in caplog.text
        Late.last.answer.set_result([InstanceSpec(C)])
        await ended(service)
        assert list(service.instances) == [C]


async def test_a_reload_meanwhile_goes_on_without_a_late_answer_too(
    generations: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "FIRST_ANSWER_SECONDS", 0.01)
    generations.install(Late)
    async with generations.build(CONFIG) as before:
        await before["api"].start()
        async with generations.build(CONFIG) as after:
            await after["api"].start()
            Late.last.answer.set_result([InstanceSpec(C)])
            await ended(after["api"])
            assert list(after["api"].instances) == [C]


async def test_a_late_failure_is_logged(
    generations: Generations, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "FIRST_ANSWER_SECONDS", 0.01)
    generations.install(Late)
    async with generations.build(CONFIG) as services:
        await services["api"].start()
        Late.last.answer.set_exception(RuntimeError("at last"))
        await ended(services["api"])
    assert "discovery failed" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


@pytest.mark.parametrize(
    ("discovery", "says"), [(Failing, "no such thing"), (Cancelled, r"CancelledError\(\)")]
)
async def test_a_discovery_that_fails_to_start_is_an_error(
    discovery: type[Told], says: str, generations: Generations
) -> None:
    generations.install(discovery)
    async with generations.build(CONFIG) as services:
        with pytest.raises(GatewayError, match=f"'api': discovery failed: .*{says}"):
            await services["api"].start()
    assert discovery.last.closed


async def test_a_discovery_that_failed_late_is_started_again_by_a_reload(
    generations: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "FIRST_ANSWER_SECONDS", 0.01)
    generations.install(Late)
    async with generations.build(CONFIG) as services:
        await services["api"].start()
        Late.last.answer.set_exception(RuntimeError("at last"))
        await ended(services["api"])
        await services["api"].start()
        Late.last.answer.set_result([InstanceSpec(C)])
        await ended(services["api"])
        assert list(services["api"].instances) == [C]
