"""The recording origin: a raw HTTP/1.1 server that keeps what arrives and answers as it is told.

It plays the part of the service behind the proxy under test. What it receives is read strictly
(:mod:`tests.conformance.wire`); what it sends is bytes from the case, so that it can be as
malicious as an origin can be. A *reply* is a sequence of parts: ``bytes`` are sent as they are, a
callable does something else on the connection: read the body, wait at a gate, close, reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self

from tests.conformance.watch import Watch
from tests.conformance.wire import (
    EndOfStreamError,
    Message,
    UnreadableError,
    Wire,
    check_request_start,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Part = bytes | Callable[["OriginConnection"], Awaitable[None]]
    Reply = tuple[Part, ...]

GATE_SECONDS = 10.0
"""How long a reply waits at a gate that nobody opens, before its connection is closed."""


class ReplyEndError(Exception):
    """The reply has ended the connection."""


class Origin:
    """Listens on a free port of 127.0.0.1 and records every request.

    Attributes:
        port: Its port.
        requests: Requests since :meth:`begin`, in order of arrival, also incomplete ones.
        connections: Connections that stand.
        last: The connection that the last request came on.
        watch: Told on every byte.

    """

    def __init__(self) -> None:
        self.watch = Watch()
        self.port = 0
        self.requests: list[Message] = []
        self.connections: list[OriginConnection] = []
        self.last: OriginConnection | None = None
        self.gates: set[str] = set()
        self._wires: list[Wire] = []
        self._replies: tuple[Reply, ...] = ()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.drop_connections()

    async def drop_connections(self) -> None:
        """Close every connection, so that nothing of a case is left for the next one."""
        for connection in self.connections:
            connection.writer.close()
        await self.watch.until(lambda: not self.connections, GATE_SECONDS)

    def begin(self, replies: tuple[Reply, ...]) -> None:
        """Forget what was received; answer the next requests with these replies in turn.

        Requests beyond them get :func:`echo`; the last reply is not repeated.
        """
        self.requests = []
        self.gates = set()
        self._replies = replies
        self._wires = [connection.wire for connection in self.connections]
        for wire in self._wires:
            wire.raw.clear()

    def open(self, gate: str) -> None:
        """Let replies that wait at this gate go on."""
        self.gates.add(gate)
        self.watch.changed()

    def next_reply(self, request: Message) -> Reply:
        """Return the reply for a request whose head has arrived."""
        if not self._replies or request.target == PROBE_TARGET:
            return echo(request)
        reply, *rest = self._replies
        self._replies = tuple(rest)
        return reply

    async def settled(self, seconds: float) -> bool:
        """Return whether no connection is in the midst of a message, within this time."""
        return await self.watch.until(
            lambda: not any(connection.busy for connection in self.connections), seconds
        )

    @property
    def raw(self) -> list[bytes]:
        """What arrived since :meth:`begin`, by connection: evidence for whoever has to mend it."""
        return [bytes(wire.raw) for wire in self._wires if wire.raw]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = OriginConnection(self, reader, writer)
        self.connections.append(connection)
        self._wires.append(connection.wire)
        try:
            await connection.serve()
        finally:
            self.connections.remove(connection)
            writer.close()
            self.watch.changed()


class OriginConnection:
    """One connection of the proxy to the origin.

    Attributes:
        request: The request that is being answered.
        busy: Whether it is between the first byte of a request and the end of its reply.

    """

    def __init__(
        self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.origin = origin
        self.writer = writer
        self.wire = Wire(reader, origin.watch.changed)
        self.request = Message(b"")
        self.busy = False

    async def serve(self) -> None:
        """Answer requests until either side closes."""
        with contextlib.suppress(EndOfStreamError, UnreadableError, ReplyEndError, ConnectionError):
            while True:
                await self.wire.begun()
                self.busy = True
                await self._exchange()
                self.busy = False
                self.origin.watch.changed()

    async def _exchange(self) -> None:
        request = self.request = Message(b"")
        self.origin.requests.append(request)
        self.origin.last = self
        request.start = await self.wire.line(request)
        await self.wire.head(request)
        check_request_start(request)
        self.origin.watch.changed()
        for part in self.origin.next_reply(request):
            if isinstance(part, bytes):
                self.writer.write(part)
                await self.writer.drain()
            else:
                await part(self)
        await body(self)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        raw_socket = self.writer.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


async def body(connection: OriginConnection) -> None:
    """Part of a reply: read the request's body to its end, unless it was read already."""
    if not connection.request.complete:
        await connection.wire.body(connection.request, default="none")


async def close(_connection: OriginConnection) -> None:
    """Part of a reply: close the connection."""
    raise ReplyEndError


async def reset(connection: OriginConnection) -> None:
    """Part of a reply: reset the connection."""
    await connection.writer.drain()
    connection.reset()
    raise ReplyEndError


def gate(name: str) -> Callable[[OriginConnection], Awaitable[None]]:
    """Part of a reply: wait until the case opens the gate."""

    async def wait(connection: OriginConnection) -> None:
        origin = connection.origin
        if not await origin.watch.until(lambda: name in origin.gates, GATE_SECONDS):
            raise ReplyEndError

    return wait


async def hang(connection: OriginConnection) -> None:
    """Part of a reply: send nothing more; goes on when the proxy closes the connection."""
    await body(connection)
    await connection.wire.begun()
    connection.request.faults.append("more bytes behind the request")


async def echo_tunnel(connection: OriginConnection) -> None:
    """Part of a reply, after 101: send back what comes until the other side ends, then close.

    What came is the request's ``body``.
    """
    received = connection.request.body
    while True:
        before = len(received)
        try:
            await connection.wire.begun()
            await connection.wire.some(received)
        except EndOfStreamError as end:
            raise ReplyEndError from end
        connection.writer.write(bytes(received[before:]))
        await connection.writer.drain()


PROBE_TARGET = b"/t/probe"
"""Target of the requests with which the runner tests connections; never scripted by a case."""


def answer(
    content: bytes = b"ok", *lines: bytes, status: bytes = b"200 OK", length: bool = True
) -> bytes:
    """Return a response whose ``X-Origin`` field tells that the origin made it."""
    sized = [b"Content-Length: %d" % len(content)] if length else []
    head = [b"HTTP/1.1 " + status, b"X-Origin: 1", *sized, *lines, b"", content]
    return b"\r\n".join(head)


def echo(request: Message) -> Reply:
    """Return the reply that names method and target, after the whole request was read."""
    content = request.method + b" " + request.target
    if request.method == b"HEAD":
        return (body, answer(b"", b"Content-Length: %d" % len(content), length=False))
    return (body, answer(content))
