"""Calls between supervisor and worker: many at once, each with a bound."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gatewayd.errors import GatewayError
from gatewayd.process.calls import (
    MAX_UNANSWERED,
    Caller,
    CallFailed,
    Faulty,
    Kind,
    Refused,
    Responder,
)
from gatewayd.process.channel import Channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[bytes], Awaitable[bytes]]


async def upper(body: bytes) -> bytes:
    return body.upper()


@asynccontextmanager
async def connected(handler: Handler = upper) -> AsyncIterator[tuple[Caller, Channel]]:
    """Connect a caller to a responder; gives the caller, and the responder's channel."""
    ours, theirs = socket.socketpair()
    one, other = await Channel.over(ours), await Channel.over(theirs)
    caller = Caller(one, "the worker")
    answering = asyncio.create_task(Responder(other, {Kind.QUESTION: handler}).run())
    try:
        yield caller, other
    finally:
        await caller.close()
        other.close()
        await asyncio.wait_for(answering, 10)


async def test_a_call_is_answered() -> None:
    async with connected() as (caller, _):
        assert await caller.call(Kind.QUESTION, b"one", 10) == b"ONE"


async def test_many_calls_are_answered_each_with_its_own() -> None:
    async with connected() as (caller, _):
        calls = [caller.call(Kind.QUESTION, b"%d" % number, 10) for number in range(MAX_UNANSWERED)]
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(MAX_UNANSWERED)]


async def test_a_slow_call_holds_up_no_other() -> None:
    released = asyncio.Event()

    async def slow(body: bytes) -> bytes:
        if body == b"slow":
            await released.wait()
        return body

    async with connected(slow) as (caller, _):
        waiting = asyncio.create_task(caller.call(Kind.QUESTION, b"slow", 10))
        assert await caller.call(Kind.QUESTION, b"quick", 10) == b"quick"
        released.set()
        assert await waiting == b"slow"


async def test_a_refusal_says_why() -> None:
    async def refuse(_: bytes) -> bytes:
        raise GatewayError("not that")

    async with connected(refuse) as (caller, _):
        with pytest.raises(Refused, match="not that"):
            await caller.call(Kind.QUESTION, b"", 10)


async def test_a_failure_of_the_worker_is_told_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(body: bytes) -> bytes:
        if body == b"fail":
            raise RuntimeError("broken")
        return body

    async with connected(fail) as (caller, _):
        with pytest.raises(Faulty, match="broken"):
            await caller.call(Kind.QUESTION, b"fail", 10)
        assert await caller.call(Kind.QUESTION, b"next", 10) == b"next"
    assert "a call of the supervisor failed" in caplog.text


async def test_an_answer_that_comes_too_late_is_dropped() -> None:
    released = asyncio.Event()

    async def slow(body: bytes) -> bytes:
        if body == b"slow":
            await released.wait()
        return body

    async with connected(slow) as (caller, _):
        with pytest.raises(TimeoutError):
            await caller.call(Kind.QUESTION, b"slow", 0.01)
        released.set()
        assert await caller.call(Kind.QUESTION, b"next", 10) == b"next"


async def test_who_owes_too_many_answers_is_asked_no_more() -> None:
    async def never(_: bytes) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async with connected(never) as (caller, _):
        late = [caller.call(Kind.QUESTION, b"", 0.01) for _ in range(MAX_UNANSWERED)]
        await asyncio.gather(*late, return_exceptions=True)
        with pytest.raises(CallFailed, match="too many"):
            await caller.call(Kind.QUESTION, b"", 10)


async def test_the_end_of_the_worker_ends_calls() -> None:
    asked = asyncio.Event()

    async def never(_: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with connected(never) as (caller, other):
        call = asyncio.create_task(caller.call(Kind.QUESTION, b"", 10))
        await asked.wait()
        other.close()
        with pytest.raises(CallFailed, match="ended before it answered"):
            await call
        with pytest.raises(CallFailed, match="has ended"):
            await caller.call(Kind.QUESTION, b"", 10)
