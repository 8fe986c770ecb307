from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gatewayd.testing import FakeClock
from gatewayd.timers import NEVER, Sweeper
from tests.support.raw import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Item:
    """Counts how often it expired."""

    def __init__(self, expires_at: float = NEVER) -> None:
        self.expires_at = expires_at
        self.expired: list[float] = []
        self.then: Callable[[], object] = lambda: None

    def expire(self, now: float) -> None:
        self.expires_at = NEVER
        self.expired.append(now)
        self.then()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(100.0)


@pytest.fixture
async def sweeper(clock: FakeClock) -> AsyncIterator[Sweeper]:
    sweeper = Sweeper(interval=0.001, clock=clock)
    yield sweeper
    sweeper.close()


async def swept(sweeper: Sweeper) -> None:
    """Wait for a whole sweep that starts now or later."""
    probe = Item(sweeper.clock())
    sweeper.watch(probe)
    await until(lambda: probe.expired)
    sweeper.forget(probe)


async def test_what_is_due_expires_once(sweeper: Sweeper, clock: FakeClock) -> None:
    due, later, never = Item(100.0), Item(100.5), Item()
    for item in (due, later, never):
        sweeper.watch(item)
    await swept(sweeper)
    await swept(sweeper)
    assert (due.expired, later.expired, never.expired) == ([100.0], [], [])
    clock.advance(0.5)
    await swept(sweeper)
    assert (due.expired, later.expired, never.expired) == ([100.0], [100.5], [])


async def test_a_deadline_can_be_moved_at_any_time(sweeper: Sweeper, clock: FakeClock) -> None:
    item = Item(101.0)
    sweeper.watch(item)
    item.expires_at = 103.0
    clock.advance(2.0)
    await swept(sweeper)
    assert item.expired == []
    clock.advance(1.0)
    await swept(sweeper)
    assert item.expired == [103.0]


async def test_what_is_forgotten_does_not_expire(sweeper: Sweeper) -> None:
    item = Item(0.0)
    sweeper.watch(item)
    sweeper.forget(item)
    sweeper.forget(item)
    assert len(sweeper) == 0
    await swept(sweeper)
    assert item.expired == []


async def test_expiring_may_watch_and_forget(sweeper: Sweeper) -> None:
    first, second = Item(0.0), Item(0.0)

    def swap() -> None:
        sweeper.forget(first)
        sweeper.watch(second)

    first.then = swap
    sweeper.watch(first)
    await until(lambda: second.expired)
    assert len(first.expired) == 1
    assert len(sweeper) == 1


async def test_one_that_fails_keeps_none_of_the_others_from_expiring(
    sweeper: Sweeper, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("faulty")

    items = [Item(0.0) for _ in range(3)]
    for item in items:
        item.then = fail
        sweeper.watch(item)
    await swept(sweeper)
    assert [len(item.expired) for item in items] == [1, 1, 1]
    assert [record.message.startswith("expiring") for record in caplog.records] == [True] * 3


async def test_with_nothing_to_watch_no_timer_runs(sweeper: Sweeper) -> None:
    assert sweeper._handle is None
    item = Item(0.0)
    sweeper.watch(item)
    assert sweeper._handle is not None
    item.then = lambda: sweeper.forget(item)
    await until(lambda: sweeper._handle is None)
    sweeper.watch(Item())
    assert sweeper._handle is not None


@pytest.mark.parametrize("when", ["between sweeps", "in a sweep"])
async def test_after_closing_nothing_expires(when: str, clock: FakeClock) -> None:
    sweeper = Sweeper(interval=0.001, clock=clock)
    item = Item(0.0)
    sweeper.watch(item)
    if when == "in a sweep":
        item.then = sweeper.close
        await until(lambda: item.expired)
    else:
        sweeper.close()
    sweeper.watch(Item(0.0))
    assert sweeper._handle is None


async def test_the_clock_is_the_system_s_unless_another_is_given() -> None:
    assert Sweeper().clock is time.monotonic
