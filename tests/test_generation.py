from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import (
    ConfigError,
    Discovery,
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    GatewayError,
    Response,
)
from gatewayd.config.load import LoadedConfig, load
from gatewayd.generation import Generation, Generations
from gatewayd.testing import FakeClock, make_exchange
from gatewayd.timers import Sweeper
from tests.support.plugins import plugins_with
from tests.support.raw import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from gatewayd import InstanceSpec


class NotingConfig(FilterConfig):
    """Settings of `noting`."""

    text: str = "first"
    """What tells this one from the others."""
    fail: str = ""
    """What it fails at: `start` or `close`."""
    wait: bool = False
    """Whether starting takes as long as the test wants."""


class Noting(Filter[NotingConfig]):
    """Answers with its text, and notes what is done to it."""

    name = "noting"
    Config = NotingConfig
    terminal = True
    events: list[str]
    may_start: asyncio.Event

    async def start(self) -> None:
        self.events.append(f"start {self.config.text}")
        self.gateway.keep(("noting", self.config.text), object)
        if self.config.wait:
            await self.may_start.wait()
        if self.config.fail == "start":
            raise OSError("no redis")

    async def close(self) -> None:
        self.events.append(f"close {self.config.text}")
        if self.config.fail == "close":
            raise OSError("no redis")

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return Response(200, body=self.config.text.encode())


class Slow(Discovery):
    """Never has an answer."""

    name = "slow"

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        await asyncio.Event().wait()


class Faulty(Discovery):
    """Fails."""

    name = "faulty"

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        raise OSError("no consul")


class Reloading:
    """Generations, and the files that they are made from."""

    def __init__(self, folder: Path, events: list[str]) -> None:
        self._file = folder / "gateway.toml"
        Noting.events, Noting.may_start = events, asyncio.Event()
        self.events = events
        self._plugins = plugins_with(Noting)
        for one in (Slow, Faulty):
            self._plugins.discovery._loaded[one.name] = one
            self._plugins.discovery._points[one.name] = []
        self.sweeper = Sweeper(clock=FakeClock())
        self.generations = Generations(self._plugins, self.sweeper)

    def load(self, text: str = "first", more: str = "", **settings: Any) -> LoadedConfig:
        lines = [f"{name} = {str(value).lower()}" for name, value in settings.items()]
        self._file.write_text(
            f'pipeline.filters = ["noting"]\n{more}\n[filters.noting]\ntext = "{text}"\n'
            + "\n".join(lines)
        )
        return load(self._file, environ={}, plugins=self._plugins)

    async def adopt(self, *arguments: Any, **settings: Any) -> Generation:
        return await self.generations.adopt(self.load(*arguments, **settings))

    async def answer(self) -> bytes | Any:
        """Return what the running generation answers."""
        response = await self.generations.current.pipeline(make_exchange())
        return response.body


@asynccontextmanager
async def make_reloading(folder: Path) -> AsyncIterator[Reloading]:
    reloading = Reloading(folder, [])
    yield reloading
    await reloading.generations.close()
    reloading.sweeper.close()
    assert len(reloading.generations.kept) == 0
    started = [event for event in reloading.events if event.startswith("start")]
    assert len(reloading.events) == 2 * len(started)


@pytest.fixture
async def reloading(tmp_path: Path) -> AsyncIterator[Reloading]:
    async with make_reloading(tmp_path) as one:
        yield one


async def test_a_new_generation_takes_over_and_the_old_one_closes(reloading: Reloading) -> None:
    first = await reloading.adopt()
    assert await reloading.answer() == b"first"
    second = await reloading.adopt("second")
    assert reloading.generations.current is second
    assert second.number > first.number
    assert await reloading.answer() == b"second"
    await until(lambda: len(reloading.events) == 3)
    assert reloading.events == ["start first", "start second", "close first"]


async def test_the_old_one_closes_after_its_last_exchange(reloading: Reloading) -> None:
    first = await reloading.adopt()
    first.in_flight = 2
    await reloading.adopt("second")
    await until(lambda: first.retiring)
    for left in (1, 0):
        assert "close first" not in reloading.events
        first.in_flight = left
        first.ended()
    await until(lambda: "close first" in reloading.events)
    assert not reloading.generations._retiring
    assert repr(first) == f"<generation {first.number}: 0 in flight>"


async def test_several_may_retire_at_the_same_time(reloading: Reloading) -> None:
    old = []
    for text in ("first", "second", "third"):
        old.append(await reloading.adopt(text))
        old[-1].in_flight = 1
    await until(lambda: old[1].retiring)
    old[1].in_flight = 0
    old[1].ended()
    await until(lambda: reloading.events[-1] == "close second")
    assert len(reloading.generations._retiring) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("server.port = 1", r"gateway\.toml:2: server\.port: cannot be changed by a reload"),
        ("server.workers = 7", r"gateway\.toml:2: server\.workers: cannot be changed"),
        (
            'server.tls.certificates = [{ certificate = "a", key = "b" }]',
            r"gateway\.toml:2: server\.tls: TLS cannot be turned on or off",
        ),
        (
            'services.s.instances = [{ url = "x" }]',
            r"gateway\.toml:2: services\.s\.instances\[0\]\.url: .*http",
        ),
        (
            '[[routes]]\nname = "r"\npath = "/{a}/{a}"\nredirect.to = "/"',
            r"gateway\.toml:4: routes\[0\]\.path: ",
        ),
        (
            '[redis]\nurl = "rediss://h"\ntls.ca = "/none.pem"',
            r"gateway\.toml:4: redis\.tls\.ca: /none\.pem cannot be loaded: .*No such file",
        ),
        (
            '[store]\nurl = "mysql://h/d"\ntls.certificate = "/none.pem"',
            r"gateway\.toml:4: store\.tls\.certificate: certificate or key cannot be loaded: ",
        ),
        (
            '[redis]\nurl = "REDISS://h"\ntls.key = "key.pem"',
            r"gateway\.toml:4: redis\.tls\.key: goes with `certificate`",
        ),
    ],
)
async def test_what_cannot_be_used_changes_nothing_and_says_where(
    reloading: Reloading, more: str, message: str
) -> None:
    first = await reloading.adopt()
    kept = len(reloading.generations.kept)
    with pytest.raises(ConfigError, match=message):
        await reloading.adopt("second", more)
    assert reloading.generations.current is first
    assert await reloading.answer() == b"first"
    assert len(reloading.generations.kept) == kept
    assert reloading.events == ["start first"]


@pytest.mark.parametrize(
    "more",
    [
        '[redis]\nurl = "redis://h"\ntls.ca = "/none.pem"',
        '[store]\nurl = "sqlite:///x.db"\ntls.ca = "/none.pem"',
        '[store]\nurl = "mysql://h/d"\ntls = { enabled = false, ca = "/none.pem" }',
    ],
)
async def test_files_that_go_with_another_environments_url_need_not_be_there(
    reloading: Reloading, more: str
) -> None:
    await reloading.adopt("first", more)
    assert await reloading.answer() == b"first"


@pytest.mark.parametrize(("changed", "same"), [("store", False), ("redis", True)])
async def test_the_audit_trail_goes_to_the_store_of_its_generation(
    reloading: Reloading, tmp_path: Path, changed: str, same: bool
) -> None:
    settings = {"store": f"sqlite:///{tmp_path}/a.db", "redis": "redis://127.0.0.1:1"}
    other = settings | {changed: settings[changed] + "1"}
    first, second = [
        await reloading.adopt(text, "\n".join(f'{key}.url = "{url}"' for key, url in urls.items()))
        for text, urls in (("first", settings), ("second", other))
    ]
    assert (first.gateway.audit is second.gateway.audit) is same


async def test_a_filter_that_does_not_start_changes_nothing(reloading: Reloading) -> None:
    await reloading.adopt()
    with pytest.raises(GatewayError, match="'noting' failed to start"):
        await reloading.adopt("second", fail="'start'")
    assert await reloading.answer() == b"first"
    assert reloading.events == ["start first", "start second", "close second"]


async def test_a_first_generation_that_cannot_be_used_leaves_nothing(
    reloading: Reloading,
) -> None:
    with pytest.raises(GatewayError, match="'noting' failed to start"):
        await reloading.adopt(fail="'start'")
    assert len(reloading.generations.kept) == 0
    await reloading.adopt("second")
    assert await reloading.answer() == b"second"


async def test_a_discovery_that_fails_leaves_nothing_of_the_others(reloading: Reloading) -> None:
    await reloading.adopt()
    before = asyncio.all_tasks()
    services = "\n".join(
        f'services.{name}.discovery = "{kind}"'
        for name, kind in (("one", "slow"), ("two", "faulty"), ("three", "slow"))
    )
    with pytest.raises(GatewayError, match="service 'two': discovery failed"):
        await reloading.adopt("second", services)
    assert await reloading.answer() == b"first"
    tasks = asyncio.all_tasks() - before
    await until(lambda: all(task.done() for task in tasks))


async def test_a_filter_that_does_not_close_is_logged(
    reloading: Reloading, caplog: pytest.LogCaptureFixture
) -> None:
    await reloading.adopt(fail="'close'")
    await reloading.adopt("second")
    await until(lambda: "close first" in reloading.events)
    await until(lambda: not reloading.generations._retiring)
    assert "filter noting failed to close" in caplog.text


async def test_kept_state_that_does_not_close_is_logged(
    reloading: Reloading, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck:
        def close(self) -> None:
            raise OSError("stuck")

    first = await reloading.adopt()
    first.gateway.keep("stuck", Stuck)
    await reloading.adopt("second")
    await until(lambda: not reloading.generations._retiring)
    assert f"generation {first.number}: closing failed" in caplog.text


async def test_reloads_take_place_one_after_the_other(reloading: Reloading) -> None:
    first = asyncio.create_task(reloading.adopt("first", wait=True))
    await until(lambda: reloading.events)
    second = asyncio.create_task(reloading.adopt("second"))
    await asyncio.sleep(0)
    assert reloading.events == ["start first"]
    Noting.may_start.set()
    await asyncio.gather(first, second)
    assert await reloading.answer() == b"second"


async def test_a_reload_that_is_given_up_leaves_nothing(reloading: Reloading) -> None:
    await reloading.adopt()
    reload = asyncio.create_task(reloading.adopt("second", wait=True))
    await until(lambda: "start second" in reloading.events)
    reload.cancel()
    await asyncio.wait([reload])
    assert reload.cancelled()
    assert reloading.events[-1] == "close second"
    await reloading.adopt("third")
    assert await reloading.answer() == b"third"


async def test_a_worker_that_stops_takes_no_other_configuration(reloading: Reloading) -> None:
    first = await reloading.adopt()
    assert not first.gateway.readiness.draining
    reload = asyncio.create_task(reloading.adopt("second", wait=True))
    await until(lambda: "start second" in reloading.events)
    reloading.generations.start_draining()
    Noting.may_start.set()
    for late in (reload, reloading.adopt("third")):
        with pytest.raises(GatewayError, match="the worker is stopping"):
            await late
    assert reloading.generations.current is first
    assert first.gateway.readiness.draining


async def test_closing_waits_for_no_exchange(reloading: Reloading) -> None:
    first = await reloading.adopt()
    first.in_flight = 1
    await reloading.adopt("second")
    await reloading.generations.close()
    assert sorted(reloading.events[2:]) == ["close first", "close second"]
    await reloading.generations.close()
