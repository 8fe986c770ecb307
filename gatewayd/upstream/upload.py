"""The body of a request, streamed to an instance at the speed of both ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from gatewayd.http1.framing import encode_chunk, encode_last_chunk
from gatewayd.timers import NEVER
from gatewayd.unsent import count_taken, is_taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.body import Body
    from gatewayd.upstream.attempt import Attempt


class Upload:
    """A body on its way, from behind the head of its request on; a task writes it.

    Args:
        attempt: Whose body it is.
        body: What is read.
        transport: Where it is written to.
        writable: Is set while the transport takes more.
        arm: Gives the phase that begins now so many seconds.
        fail: Is told what reading the body has raised.

    Attributes:
        sending: Whether some of it is still to be written.
        asked: Is set when the instance has asked for it with ``100 Continue``.

    """

    __slots__ = ("_arm", "_attempt", "_fail", "_taken", "_task", "_transport", "_writable",
                 "asked", "sending")  # fmt: skip

    def __init__(
        self,
        attempt: Attempt,
        body: Body,
        transport: asyncio.Transport,
        writable: asyncio.Event,
        *,
        arm: Callable[[float], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._attempt = attempt
        self._transport = transport
        self._writable = writable
        self._arm = arm
        self._fail = fail
        self._taken = 0  # bytes that the instance had taken when the present phase began
        self.sending = True
        self.asked = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(body))

    @property
    def waits_for_client(self) -> bool:
        """Whether it goes on when the client, not the instance, has done something."""
        return self.sending and self._writable.is_set()

    def prolong(self) -> bool:
        """Give an instance whose time is over the same again, if it used it to take a part.

        Returns:
            Whether it has taken some of the request in this phase, but not yet all.

        """
        moves = count_taken(self._transport) > self._taken and not is_taken(self._transport)
        if moves:
            self._await_instance()
        return moves

    def cancel(self) -> None:
        """Write no more. Safe to call twice."""
        self.sending = False
        self._task.cancel()

    async def _run(self, body: Body) -> None:
        try:
            if self._attempt.expects_continue:
                await self._await_continue()
            await self._copy(body)
        except Exception as error:  # the client's side of the body failed, or a filter's
            self._fail(error)
        else:
            self.sending = False
            self._await_instance()

    async def _await_continue(self) -> None:
        """Wait until the instance asks for the body, or for too long (RFC 9110 section 10.1.1)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._attempt.timeouts.expect):
                await self.asked.wait()

    async def _copy(self, body: Body) -> None:
        chunked = self._attempt.chunked
        left = body.length
        while self.sending:
            # While the client is slow there is nothing to hold against the instance.
            self._arm(NEVER)
            piece = await body.read()
            if not piece:
                if left:
                    raise ValueError("the request's body is shorter than declared")
                break
            if left is not None:
                left -= len(piece)
                if left < 0:  # the instance would take the surplus for another request
                    raise ValueError("the request's body is longer than declared")
            self._transport.write(encode_chunk(piece) if chunked else piece)
            if not self._writable.is_set():
                self._await_instance()
                await self._writable.wait()
        if self.sending and chunked:
            self._transport.write(encode_last_chunk(body.trailers))

    def _await_instance(self) -> None:
        """Give the instance its time to take something of what is unsent, or to answer."""
        timeouts = self._attempt.timeouts
        self._taken = count_taken(self._transport)
        self._arm(timeouts.write if self.sending else timeouts.first_byte)
