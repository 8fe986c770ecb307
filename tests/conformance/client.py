"""The raw client: sends bytes as the case says and keeps whatever comes back.

Responses are read in the background while the case still sends, so that a case can wait for an
interim response, or for the first bytes of a stream, before it goes on. Every wait is bounded: what
does not come in time is noted as *stalled*, which no case accepts.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self, cast

from tests.conformance.watch import Watch
from tests.conformance.wire import (
    EndOfStreamError,
    Message,
    UnreadableError,
    Wire,
    check_status_line,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conformance.origin import Origin

    Step = bytes | Callable[["Session", Origin], Awaitable[None]]

SILENCE_SECONDS = 1.0
"""How long a proxy is silent before a case takes it that nothing will come."""

_BODILESS = {204, 304}
_SWITCHED = 101


class Session:
    """One client connection to the proxy under test.

    Attributes:
        responses: Final responses, in order; the last one may be incomplete.
        interim: Interim responses (1xx), in order.
        tunnel: Bytes that came behind 101.
        end: ``fin`` or ``reset`` once the proxy has closed, else ``open``.
        faults: What was wrong with the responses' bytes, or came after them.
        stalled: What the case waited for in vain.
        half_closed: Whether the sending side is closed.
        methods: Method of each request, to know responses to HEAD; GET where it has run out.

    """

    def __init__(self, methods: tuple[str, ...], patience: float) -> None:
        self.watch = Watch()
        self.responses: list[Message] = []
        self.interim: list[Message] = []
        self.tunnel = bytearray()
        self.end = "open"
        self.faults: list[str] = []
        self.stalled: list[str] = []
        self.half_closed = False
        self.methods = methods
        self.sent = bytearray()
        self._patience = patience

    async def connect(self, port: int, source: str) -> Self:
        """Connect from the loopback address ``source``."""
        reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(source, 0), limit=2**20
        )
        self.wire = Wire(reader, self.watch.changed)
        self._reading = asyncio.create_task(self._read())
        return self

    async def close(self) -> None:
        """Close the connection; nothing more is read."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self.writer.close()

    @property
    def complete(self) -> int:
        """Number of complete final responses."""
        return sum(response.complete for response in self.responses)

    @property
    def ended(self) -> bool:
        """Whether the proxy has closed the connection."""
        return self.end != "open"

    async def send(self, data: bytes) -> None:
        """Send bytes; a proxy that has closed meanwhile is no error, it shows in ``end``."""
        self.sent += data
        try:
            self.writer.write(data)
            async with asyncio.timeout(self._patience):
                await self.writer.drain()
        except TimeoutError:
            self.stalled.append("the proxy to read what was sent")
        except ConnectionError:
            await self.until(lambda: self.ended, "the end of a broken connection")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition of this session; note ``what`` if it does not come true."""
        if not await self.watch.until(condition, self._patience):
            self.stalled.append(what)

    async def until_origin(self, origin: Origin, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition of the origin; note ``what`` if it does not come true."""
        if not await origin.watch.until(condition, self._patience):
            self.stalled.append(what)

    def half_close(self) -> None:
        """Close the sending side; what is under way may still be answered."""
        if not self.half_closed and not self.writer.is_closing():
            with contextlib.suppress(OSError):  # reset by the proxy: the reader notes it
                self.writer.write_eof()
        self.half_closed = True

    def reset(self) -> None:
        """Break the connection off with RST."""
        raw_socket = self.writer.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def _read(self) -> None:
        try:
            while True:
                await self.wire.begun()
                if not await self._response():
                    await self.wire.into(self.tunnel)
        except EndOfStreamError as end:
            self.end = "reset" if end.reset else "fin"
        except UnreadableError:
            self.faults.append("unreadable response")
            await self._drain()
        self.watch.changed()

    async def _response(self) -> bool:
        """Read one response; return False after 101."""
        response = Message(b"")
        response.start = await self.wire.line(response)
        check_status_line(response)
        if response.faults:
            self.faults += response.faults
            raise UnreadableError
        await self.wire.head(response)
        if 100 <= response.status < 200:
            self.faults += response.faults
            self.interim.append(response)
            self.watch.changed()
            return response.status != _SWITCHED
        self.responses.append(response)
        self.watch.changed()
        try:
            if self._has_body(response):
                await self.wire.body(response, default="close")
            response.complete = True
        finally:
            self.faults += response.faults
            self.watch.changed()
        return True

    def _has_body(self, response: Message) -> bool:
        number = len(self.responses) - 1
        head = number < len(self.methods) and self.methods[number] == "HEAD"
        return not head and response.status not in _BODILESS

    async def _drain(self) -> None:
        try:
            await self.wire.into(bytearray())
        except EndOfStreamError as end:
            self.end = "reset" if end.reset else "fin"


# Steps of a case that are more than bytes to send.


async def half_close(session: Session, _origin: Origin) -> None:
    """Step: close the sending side."""
    session.half_close()


async def half_close_if_silent(session: Session, _origin: Origin) -> None:
    """Step: end a request for which the proxy waits on, where others have answered by now."""
    await session.watch.until(lambda: session.complete > 0 or session.ended, SILENCE_SECONDS)
    if not session.complete:
        session.half_close()


async def reset(session: Session, _origin: Origin) -> None:
    """Step: break the connection off."""
    session.reset()


async def pause(session: Session, _origin: Origin) -> None:
    """Step: stop reading, as a slow client does."""
    cast("asyncio.Transport", session.writer.transport).pause_reading()


async def resume(session: Session, _origin: Origin) -> None:
    """Step: read on."""
    cast("asyncio.Transport", session.writer.transport).resume_reading()


def opens(gate: str) -> Step:
    """Step: let the origin's reply go on behind this gate."""

    async def step(_session: Session, origin: Origin) -> None:
        origin.open(gate)

    return step


def bytewise(data: bytes) -> tuple[Step, ...]:
    """Steps: send every byte with a write of its own."""
    return tuple(bytes([byte]) for byte in data)


def until_origin_has(requests: int = 1, body: int = 0) -> Step:
    """Step: wait until so many request heads, and body bytes of the last one, have arrived."""

    async def step(session: Session, origin: Origin) -> None:
        def arrived() -> bool:
            seen = origin.requests
            return len(seen) >= requests and len(seen[-1].body) >= body

        await session.until_origin(origin, arrived, f"request {requests} at the origin")

    return step


def until_responses(number: int) -> Step:
    """Step: wait until so many final responses are complete, or the proxy closes."""

    async def step(session: Session, _origin: Origin) -> None:
        await session.until(
            lambda: session.complete >= number or session.ended, f"response {number}"
        )

    return step


def until_interim(status: int) -> Step:
    """Step: wait for an interim response."""

    async def step(session: Session, _origin: Origin) -> None:
        await session.until(
            lambda: any(one.status == status for one in session.interim) or session.ended,
            f"an interim response {status}",
        )

    return step


def until_content(content: bytes) -> Step:
    """Step: wait until the last response's body holds these bytes."""

    async def step(session: Session, _origin: Origin) -> None:
        await session.until(
            lambda: bool(session.responses) and content in session.responses[-1].body,
            f"{content[:40]!r} in the response",
        )

    return step


def until_tunnel(length: int) -> Step:
    """Step: wait until so many bytes have come through the tunnel."""

    async def step(session: Session, _origin: Origin) -> None:
        await session.until(
            lambda: len(session.tunnel) >= length or session.ended, f"{length} bytes in the tunnel"
        )

    return step


async def until_closed(session: Session, _origin: Origin) -> None:
    """Step: wait until the proxy closes the connection."""
    await session.until(lambda: session.ended, "the proxy to close")


async def until_upstream_closed(session: Session, origin: Origin) -> None:
    """Step: wait until the proxy closes the connection that its last request went to."""
    await session.until_origin(
        origin, lambda: origin.last not in origin.connections, "the connection to the origin to end"
    )
