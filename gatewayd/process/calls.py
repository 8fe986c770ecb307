"""Calls between supervisor and worker: many at once over one channel, each with a bound.

A call has a number, and its answer has the same one. So a slow call holds up no other, and an
answer that comes after its asker has given up is dropped. A worker that answers nothing costs each
asker its time-out, and no more than ``MAX_UNANSWERED`` calls are sent to it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
from enum import IntEnum
from typing import TYPE_CHECKING

from gatewayd.errors import GatewayError
from gatewayd.process.channel import Channel, ChannelClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

MAX_UNANSWERED = 64
"""Calls that a worker may leave unanswered before it gets no more."""

MAX_ANSWER_BYTES = 64 << 20
"""Longest answer: metrics of a hundred thousand series take some megabytes."""

_HEADER = struct.Struct("!BI")
logger = logging.getLogger("gatewayd.process")


class Kind(IntEnum):
    """What a message is."""

    CONFIGURATION = 1
    """A packed configuration to take over."""
    QUESTION = 2
    """A named command with its arguments, as JSON."""
    ANSWER = 3
    """What came of a call."""
    REFUSAL = 4
    """Why nothing came of it, for operators."""
    FAULT = 5
    """What went wrong with it, which nobody has foreseen; the log says more."""


class CallFailed(GatewayError):  # noqa: N818  # an event that is reported, and then dealt with
    """A call has not been answered, or was refused; says why."""


class Refused(CallFailed):
    """The worker has answered that it does not do what it was asked."""


class Faulty(CallFailed):
    """The worker has failed at what it was asked, in a way that nobody has foreseen."""


class Overdue(CallFailed):
    """Too many calls are unanswered, so this one was not sent."""


class Caller:
    """Asks the process at the other end of a channel.

    Args:
        channel: Our end.
        name: Who is at the other end, for errors.

    Attributes:
        heard: How many answers have come, late ones too.

    """

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._name = name
        self.heard = 0
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes] | None] = {}  # None: given up
        self._reader = asyncio.create_task(self._read(), name=f"answers of {name}")

    async def call(self, kind: Kind, body: bytes, seconds: float) -> bytes:
        """Send a call and return its answer.

        Raises:
            Refused: the other end does not do it.
            Faulty: the other end has failed at it.
            Overdue: the other end owes too many answers.
            CallFailed: the other end is gone.
            TimeoutError: no answer came in time.

        """
        if self._reader.done():
            raise CallFailed(f"{self._name} has ended")
        if len(self._waiting) >= MAX_UNANSWERED:
            raise Overdue(f"{self._name} leaves too many calls unanswered")
        number = next(self._numbers) & 0xFFFFFFFF
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(seconds):
                await self._channel.send(_HEADER.pack(kind, number) + body)
                result: bytes = await answer
                return result
        except ChannelClosed:
            self._waiting.pop(number, None)
            raise CallFailed(f"{self._name} ended before it answered") from None
        finally:
            if number in self._waiting:
                self._waiting[number] = None  # it is owed until it comes

    async def _read(self) -> None:
        try:
            while True:
                message = await self._channel.receive()
                self.heard += 1
                kind, number = _HEADER.unpack_from(message)
                answer = self._waiting.pop(number, None)
                if answer is None or answer.done():
                    continue
                body = message[_HEADER.size :]
                if kind == Kind.ANSWER:
                    answer.set_result(body)
                else:
                    failed = Refused if kind == Kind.REFUSAL else Faulty
                    answer.set_exception(failed(body.decode()))
        except ChannelClosed:
            pass
        finally:
            waiting, self._waiting = self._waiting, {}
            for answer in waiting.values():
                if answer is not None and not answer.done():
                    answer.set_exception(ChannelClosed())

    async def close(self) -> None:
        """Break off what still waits, and close the channel."""
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._channel.close()


class Responder:
    """Answers the calls that come over a channel.

    Args:
        channel: Our end.
        handlers: What to do for each kind of call; its result is the answer. A
            :class:`GatewayError` is told the caller, as is the kind of any other error.

    """

    def __init__(
        self, channel: Channel, handlers: Mapping[Kind, Callable[[bytes], Awaitable[bytes]]]
    ) -> None:
        self._channel = channel
        self._handlers = handlers
        self._running: set[asyncio.Task[bool]] = set()

    async def answer_next(self) -> bool:
        """Answer the next call; return whether it succeeded.

        Raises:
            ChannelClosed: the other end is gone.

        """
        return await self._answer(await self._channel.receive())

    async def run(self) -> None:
        """Answer calls side by side until the other end is gone."""
        try:
            while True:
                message = await self._channel.receive()
                task = asyncio.create_task(self._answer(message), name="call")
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        except ChannelClosed:
            return
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    async def _answer(self, message: bytes) -> bool:
        kind, number = _HEADER.unpack_from(message)
        outcome = Kind.REFUSAL
        try:
            body = await self._handlers[kind](message[_HEADER.size :])
            if len(body) > MAX_ANSWER_BYTES:
                raise GatewayError("the answer is too long")  # noqa: TRY301  # told as others are
            outcome = Kind.ANSWER
        except GatewayError as error:
            body = str(error).encode()
        except Exception as error:
            logger.exception("a call of the supervisor failed")
            outcome = Kind.FAULT
            body = repr(error).encode()
        try:
            await self._channel.send(_HEADER.pack(outcome, number) + body)
        except ChannelClosed:
            return False  # nobody is there who wants to know
        return outcome == Kind.ANSWER
