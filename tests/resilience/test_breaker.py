from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from gatewayd import Breaker, BreakerChange, BreakerOpen, BreakerPolicy, BreakerState
from gatewayd.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

POLICY = BreakerPolicy(consecutive_failures=2, half_open_requests=1, open_for=5.0)
SLOW = BreakerPolicy(min_requests=1, slow_after=2.0, slow_ratio=0.3)


async def fail(breaker: Breaker, times: int = 1, error: type[BaseException] = OSError) -> None:
    for _ in range(times):
        with pytest.raises(error):
            async with breaker:
                raise error


async def test_failures_open_it_and_the_block_is_not_entered() -> None:
    breaker = Breaker("directory", POLICY, clock=FakeClock())
    await fail(breaker, 2)
    entered = False
    with pytest.raises(BreakerOpen) as caught:
        async with breaker:
            entered = True
    assert not entered
    assert (caught.value.status, caught.value.code) == (503, "breaker_open")
    assert caught.value.headers == [("Retry-After", "5")]


async def test_a_success_after_its_time_closes_it() -> None:
    clock = FakeClock()
    breaker = Breaker("directory", POLICY, clock=clock)
    await fail(breaker, 2)
    clock.advance(5)
    async with breaker:
        assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.state is BreakerState.CLOSED


async def test_time_in_the_block_counts() -> None:
    clock = FakeClock()
    breaker = Breaker("directory", SLOW, clock=clock)
    async with breaker:
        clock.advance(2)
    assert breaker.state is BreakerState.OPEN


async def test_cancellation_says_nothing() -> None:
    breaker = Breaker("directory", POLICY, clock=FakeClock())
    await fail(breaker, 5, asyncio.CancelledError)
    assert breaker.state is BreakerState.CLOSED


async def test_what_is_no_failure_says_nothing() -> None:
    breaker = Breaker("directory", POLICY, is_failure=lambda error: isinstance(error, OSError))
    await fail(breaker, 5, KeyError)
    assert breaker.state is BreakerState.CLOSED


async def test_tasks_and_nested_blocks_are_kept_apart() -> None:
    clock = FakeClock()
    breaker = Breaker("directory", SLOW, clock=clock)
    entered = asyncio.Event()
    leave = asyncio.Event()

    async def early() -> None:
        async with breaker:
            entered.set()
            await leave.wait()

    task = asyncio.create_task(early())
    await entered.wait()
    clock.advance(1)
    async with breaker:
        async with breaker:
            clock.advance(0.5)
        assert breaker.state is BreakerState.CLOSED
    assert breaker.state is BreakerState.CLOSED
    clock.advance(0.5)  # the early one has taken 2 seconds by now
    leave.set()
    await task
    assert breaker.state is BreakerState.OPEN
    assert breaker._entered == {}


def decorated(breaker: Breaker) -> Callable[[int], Awaitable[int]]:
    @breaker
    async def half(number: int) -> int:
        """Divide."""
        return 10 // number

    return half


async def test_as_a_decorator() -> None:
    breaker = Breaker("division", POLICY, clock=FakeClock())
    half = decorated(breaker)
    assert await half(5) == 2
    assert half.__doc__ == "Divide."
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await half(0)
    with pytest.raises(BreakerOpen):
        await half(5)


async def test_changes_are_events_and_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gatewayd.breaker")
    clock = FakeClock()
    changes: list[BreakerChange] = []
    breaker = Breaker("directory", POLICY, clock=clock, on_change=[changes.append])
    await fail(breaker, 2)
    clock.advance(5)
    async with breaker:
        pass
    closed, opened, half = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
    assert changes == [
        BreakerChange("directory", closed, opened),
        BreakerChange("directory", opened, half),
        BreakerChange("directory", half, closed),
    ]
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "breaker of directory: open, was closed"),
        ("INFO", "breaker of directory: half_open, was open"),
        ("INFO", "breaker of directory: closed, was half_open"),
    ]
