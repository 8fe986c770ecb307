"""Active checks of a service, against real sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.config.schema import HealthConfig, UpstreamTlsConfig
from gatewayd.events import Events
from gatewayd.services.checks import Checks
from gatewayd.services.health import Health
from gatewayd.services.tls import ClientTls
from gatewayd.testing.gateways import make_service
from gatewayd.timers import Sweeper
from gatewayd.upstream.names import Names
from tests.support.raw import until
from tests.support.sick_origin import SickOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gatewayd.services.service import Service

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SETTINGS: dict[str, Any] = {
    "path": "/health?deep=1", "interval": 0.01, "jitter": 0, "unhealthy_after": 2,
}  # fmt: skip


class FakeBoard:
    """A board whose lock is where the test wants it."""

    def __init__(self, entries: Mapping[str, Mapping[str, bool]], *, ours: bool = False) -> None:
        self.entries = entries
        self.ours = ours
        self.published: list[dict[str, bool] | None] = []
        self.news = asyncio.Event()

    def claim(self) -> bool:
        return self.ours

    def publish(self, key: str, values: dict[str, bool] | None) -> None:
        self.published.append(values)
        self.news.set()

    def read(self) -> Mapping[str, Mapping[str, bool]]:
        self.news.set()
        return self.entries


@pytest.fixture
async def origin() -> AsyncIterator[SickOrigin]:
    async with SickOrigin() as origin:
        yield origin


@pytest.fixture
async def sweeper() -> AsyncIterator[Sweeper]:
    sweeper = Sweeper()
    yield sweeper
    sweeper.close()


def make(
    origin: SickOrigin, sweeper: Sweeper, board: FakeBoard | None = None, **settings: Any
) -> tuple[Health, Service]:
    config = HealthConfig(**{**SETTINGS, **settings})
    tls = ClientTls("api", UpstreamTlsConfig())
    checks = Checks("key", config, tls, None, board, Names())  # type: ignore[arg-type]
    health = Health("api", None, checks, sweeper, Events())
    service = make_service("api", origin.url)
    health.attach(service)
    return health, service


async def test_what_a_check_sends(origin: SickOrigin, sweeper: Sweeper) -> None:
    health, _ = make(origin, sweeper, host="api.example.org")
    health.start()
    await origin.asked(1)
    await health.close()
    head = origin.requests[0].splitlines()
    assert head[0] == "GET /health?deep=1 HTTP/1.1"
    assert "Host: api.example.org" in head
    assert "User-Agent: gatewayd-health" in head


@pytest.mark.parametrize(
    ("answer", "settings", "healthy"),
    [
        (OK, {}, True),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", {}, False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", {"statuses": ["4xx"]}, True),
        (OK, {"statuses": [204]}, False),
        (b"220 mail.example.org ESMTP\r\n", {}, False),
        (b"", {}, False),
        (None, {"timeout": 0.05}, False),
    ],
)
async def test_which_answers_are_healthy(
    origin: SickOrigin,
    sweeper: Sweeper,
    answer: bytes | None,
    settings: dict[str, Any],
    healthy: bool,
) -> None:
    origin.answer = answer
    health, service = make(origin, sweeper, **settings)
    health.start()
    # Two checks are enough; aiohttp asks a second time where a connection ends early.
    await origin.asked(8)
    await health.close()
    assert service.instances[origin.url].checked is healthy


async def test_a_service_without_instances_is_no_error(
    origin: SickOrigin, sweeper: Sweeper, caplog: pytest.LogCaptureFixture
) -> None:
    board = FakeBoard({}, ours=True)
    health, service = make(origin, sweeper, board)
    service.replace(())
    health.start()
    async with asyncio.timeout(10):
        await board.news.wait()
    await health.close()
    assert board.published[0] == {}
    assert "health checks failed" not in caplog.text


async def test_one_failure_is_not_enough(origin: SickOrigin, sweeper: Sweeper) -> None:
    health, service = make(origin, sweeper, unhealthy_after=1000)
    origin.respond(500)
    health.start()
    await origin.asked(4)
    await health.close()
    assert service.instances[origin.url].checked


async def test_the_worker_that_checks_tells_the_others(
    origin: SickOrigin, sweeper: Sweeper
) -> None:
    board = FakeBoard({}, ours=True)
    health, _ = make(origin, sweeper, board)
    health.start()
    await asyncio.wait_for(board.news.wait(), 10)
    await health.close()
    assert board.published[0] == {origin.url: True}
    assert board.published[-1] is None


async def test_the_others_ask_nobody_and_take_over_what_was_found(
    origin: SickOrigin, sweeper: Sweeper
) -> None:
    board = FakeBoard({"key": {origin.url: False}, "another": {origin.url: True}})
    health, service = make(origin, sweeper, board)
    health.start()
    await asyncio.wait_for(board.news.wait(), 10)
    await health.close()
    assert service.available == ()
    assert origin.requests == []


async def test_a_worker_takes_over_from_what_was_found_last(
    origin: SickOrigin, sweeper: Sweeper
) -> None:
    board = FakeBoard({"key": {origin.url: False}})
    health, service = make(origin, sweeper, board, healthy_after=2)
    health.start()
    await asyncio.wait_for(board.news.wait(), 10)
    board.ours = True
    await origin.asked(4)
    await health.close()
    assert [one.url for one in service.available] == [origin.url]


async def test_instances_that_hang_do_not_keep_the_others_from_being_asked_in_time(
    origin: SickOrigin, sweeper: Sweeper
) -> None:
    async with SickOrigin(None) as hanging:
        health, _ = make(origin, sweeper, timeout=60)
        health.attach(make_service("api", hanging.url))
        health.start()
        await origin.asked(4)
        await health.close()
    assert len(hanging.requests) == 1


async def test_instances_that_fail_take_no_place_of_the_others(
    origin: SickOrigin, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.services.checks.AT_ONCE", 1)
    async with SickOrigin() as failing:
        failing.respond(500)
        health, _ = make(failing, sweeper, timeout=60)
        health.start()
        checks = health._checks
        await until(lambda: checks is not None and checks._streaks.get(failing.url, 0) < 0)
        failing.answer = None
        health.attach(make_service("api", origin.url))
        await origin.asked(4)
        await health.close()


async def test_a_check_that_goes_wrong_is_logged_and_made_again(
    origin: SickOrigin,
    sweeper: Sweeper,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ask, asked = Checks._ask, 0

    async def fail_once(self: Checks, session: Any, url: str) -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RuntimeError("of the test")
        return await ask(self, session, url)

    monkeypatch.setattr(Checks, "_ask", fail_once)
    health, _ = make(origin, sweeper)
    health.start()
    await origin.asked(2)
    await health.close()
    assert caplog.messages == [f"service api: check of {origin.url} failed"]


async def test_what_is_found_of_an_instance_that_has_gone_is_not_kept(
    origin: SickOrigin, sweeper: Sweeper
) -> None:
    health, service = make(origin, sweeper)
    service.replace(())
    health.set_checked(origin.url, False, "of the test")
    assert health.is_checked(origin.url)
