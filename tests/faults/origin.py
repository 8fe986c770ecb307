"""Instances that fail on purpose: refuse, reset, hang, lie or drip, as they are told."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Fault: TypeAlias = Literal[
    "none", "refused", "reset mid-head", "reset mid-body", "hang before head", "hang mid-body",
    "500", "slow drip", "garbage",
]  # fmt: skip

CONTENT = b"0123456789abcdef"
"""The body of every answer."""

_HEAD = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n"
_OK = _HEAD % (b"200 OK", len(CONTENT)) + CONTENT
_HALF = _HEAD % (b"200 OK", len(CONTENT)) + CONTENT[:7]
_DRIP_SECONDS = 0.02  # between two bytes; in all it is longer than one attempt may take


class FaultyOrigin:
    """An HTTP/1.1 server on a port of its own.

    Attributes:
        port: Its port; the same again after it was closed.
        fault: How it fails; changed by :meth:`become`.
        calls: Requests whose head has arrived.
        posts: How often each POST has arrived, by its ``X-Id``.
        bodies: The body of each request that had one.

    """

    def __init__(self) -> None:
        self.port = 0
        self.fault: Fault = "none"
        self.calls = 0
        self.posts: Counter[bytes] = Counter()
        self.bodies: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()
        if self._connections:
            await asyncio.wait(self._connections)

    async def become(self, fault: Fault) -> None:
        """Fail like this from now on."""
        self.fault = fault
        if fault == "refused":
            self._close()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _close(self) -> None:
        """Stop as a killed process does: nobody listens, and all connections are reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._connections.values():
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections[task] = writer
        try:
            # A proxy that gives up resets the connection; then there is nobody left to answer.
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._read_request(reader):
                    await _ANSWERS[self.fault](reader, writer)
                    await writer.drain()
        finally:
            del self._connections[task]
            writer.transport.abort()

    async def _read_request(self, reader: asyncio.StreamReader) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        self.calls += 1
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        if lines[0].startswith(b"POST "):
            self.posts[fields[b"x-id"]] += 1
        if length := int(fields.get(b"content-length", b"0")):
            self.bodies.append(await reader.readexactly(length))
        return True


async def _answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_OK)


async def _error(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD % (b"500 Internal Server Error", 0))


async def _garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 this is no HTTP \x00\r\n\r\n")


async def _drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_OK[: -len(CONTENT)])
    for byte in CONTENT:
        await asyncio.sleep(_DRIP_SECONDS)  # this is the fault
        writer.write(bytes([byte]))


def _reset_after(part: bytes) -> _Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(part)
        raise ConnectionResetError

    return answer


def _hang_after(part: bytes) -> _Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(part)
        await reader.read()  # until the proxy gives up
        raise ConnectionResetError

    return answer


if TYPE_CHECKING:
    _Answer: TypeAlias = Callable[
        [asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]
    ]

_ANSWERS: dict[Fault, _Answer] = {
    "none": _answer,
    "reset mid-head": _reset_after(_OK[:20]),
    "reset mid-body": _reset_after(_HALF),
    "hang before head": _hang_after(b""),
    "hang mid-body": _hang_after(_HALF),
    "500": _error,
    "slow drip": _drip,
    "garbage": _garbage,
}
