"""A worker as its supervisor sees it: one that stands still, one that is late, how one ends."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gatewayd.process import child as child_module
from gatewayd.process.calls import MAX_UNANSWERED, Kind, Responder
from gatewayd.process.channel import Channel
from gatewayd.process.child import LOOKS, Child, ChildFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "LOOK_SECONDS", 0.01)


@asynccontextmanager
async def worker() -> AsyncIterator[tuple[Child, Channel]]:
    """Run a process that does nothing; gives it, and the worker's end of the channel."""
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec("sleep", "60")
    child, other = Child(process, await Channel.over(ours)), await Channel.over(theirs)
    try:
        yield child, other
    finally:
        child.kill()
        await child.ended()
        other.close()


@asynccontextmanager
async def answering(channel: Channel, **handlers: Handler) -> AsyncIterator[None]:
    """Answer what comes over a channel."""
    kinds = {Kind[name.upper()]: handler for name, handler in handlers.items()}
    task = asyncio.create_task(Responder(channel, kinds).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_one_that_stands_still_falls_silent() -> None:
    async with worker() as (child, _):
        await asyncio.wait_for(child.fall_silent(), 10)


async def test_one_that_is_gone_falls_silent() -> None:
    async with worker() as (child, other):
        child.serving = True
        assert child.answers
        other.close()
        await asyncio.wait_for(child.fall_silent(), 10)
        assert not child.answers


async def test_one_that_answers_does_not_fall_silent() -> None:
    looks = 0
    enough = asyncio.Event()

    async def count(_: bytes) -> bytes:
        nonlocal looks
        looks += 1
        if looks > 2 * LOOKS:
            enough.set()
        return b"null"

    async with worker() as (child, other), answering(other, question=count):
        silent = asyncio.create_task(child.fall_silent())
        await asyncio.wait_for(enough.wait(), 10)
        assert not silent.done()
        silent.cancel()


async def test_late_answers_are_answers() -> None:
    """Each question is answered when the next one has come."""
    async with worker() as (child, other):
        silent = asyncio.create_task(child.fall_silent())
        late = await other.receive()
        for _ in range(2 * LOOKS):
            question = await other.receive()
            await other.send(bytes([Kind.ANSWER]) + late[1:5] + b"null")
            late = question
        assert not silent.done()
        silent.cancel()


async def test_one_that_takes_a_configuration_may_be_silent_for_longer() -> None:
    async with worker() as (child, other):
        taking = asyncio.create_task(child.take(b""))
        assert (await other.receive())[0] == Kind.CONFIGURATION
        silent = asyncio.create_task(child.fall_silent())
        for _ in range(2 * LOOKS):
            await other.receive()
        assert not silent.done()
        for task in (silent, taking):
            task.cancel()
        await asyncio.wait([silent, taking])


async def test_one_that_owes_too_many_answers_is_killed_when_it_is_to_take_a_configuration() -> (
    None
):
    async with worker() as (child, _):
        late = [child.ask("status", {}, 0.01) for _ in range(MAX_UNANSWERED)]
        await asyncio.gather(*late, return_exceptions=True)
        with pytest.raises(ChildFailed, match="too many"):
            await child.take(b"")
        assert await asyncio.wait_for(child.ended(), 10) == "SIGKILL"


@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGRTMIN + 6, "signal 40")]
)
async def test_how_one_has_ended(number: int, told: str) -> None:
    async with worker() as (child, _):
        child._process.send_signal(number)
        assert await asyncio.wait_for(child.ended(), 10) == told
