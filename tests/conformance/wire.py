"""HTTP/1.1 messages read strictly off a stream, for the recording origin and the raw client.

A proxy under test is judged by the bytes that it writes. So this reader forgives nothing: whatever
two recipients could read in two ways is noted as a *fault* of the message (RFC 9112), and reading
goes on in the most usual way, so that one look shows everything that is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) (HTTP/1\.[01])")
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([0-9]{3}) ([\t \x21-\x7e\x80-\xff]*)")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
# RFC 9110 section 5.5 calls these three dangerous; other controls may be kept "in a safe context".
_DANGEROUS_IN_VALUE = re.compile(rb"[\x00\r\n]")

_MAX_LENGTH = 2**63 - 1

Fields = list[tuple[bytes, bytes]]


class EndOfStreamError(Exception):
    """The other side has closed; ``reset`` says whether with RST instead of FIN."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


class UnreadableError(Exception):
    """What arrives is not HTTP any more."""


@dataclass(slots=True)
class Message:
    """A request or response as it arrived.

    Attributes:
        start: The start line, without its line end.
        fields: Header fields in wire order; values without surrounding blanks.
        body: What has arrived of the body so far.
        trailers: Trailer fields of a chunked body.
        complete: Whether the message has ended as its framing says.
        framing: ``chunked``, ``length``, ``none`` or ``close``.
        faults: What is wrong with its bytes.

    """

    start: bytes
    fields: Fields = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    complete: bool = False
    framing: str = "none"
    faults: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[bytes]:
        """Return the value of every line of ``name``."""
        key = name.lower().encode()
        return [value for other, value in self.fields if other.lower() == key]

    def header(self, name: str) -> bytes | None:
        """Return the lines of ``name`` as one list value, or ``None`` where there are none."""
        values = self.values(name)
        return b", ".join(values) if values else None

    def tokens(self, name: str) -> list[bytes]:
        """Return the elements of a list field, in lower case."""
        combined = self.header(name) or b""
        return [element.strip().lower() for element in combined.split(b",") if element.strip()]

    @property
    def method(self) -> bytes:
        """A request's method."""
        return self.start.split(b" ", 1)[0]

    @property
    def target(self) -> bytes:
        """A request's target."""
        return self.start.split(b" ", 1)[-1].rsplit(b" ", 1)[0]

    @property
    def version(self) -> bytes:
        """The version of a request or response, as ``HTTP/1.1``."""
        last, first = self.start.rsplit(b" ", 1)[-1], self.start.split(b" ", 1)[0]
        return first if first.startswith(b"HTTP/") else last

    @property
    def status(self) -> int:
        """A response's status, 0 where its status line is malformed."""
        match = _STATUS_LINE.fullmatch(self.start)
        return int(match[2]) if match else 0

    @property
    def keeps_alive(self) -> bool:
        """Whether the sender of this message says that the connection goes on (9112, 9.3)."""
        options = self.tokens("connection")
        if self.version == b"HTTP/1.0":
            return b"keep-alive" in options
        return b"close" not in options


class Wire:
    """One direction of a connection: buffered, kept in ``raw``, and told when it changes."""

    def __init__(self, reader: asyncio.StreamReader, changed: Callable[[], None]) -> None:
        self.raw = bytearray()
        self.changed = changed
        self._reader = reader
        self._buffer = bytearray()

    async def _receive(self) -> None:
        try:
            data = await self._reader.read(65536)
        except ConnectionError as error:
            self.changed()
            raise EndOfStreamError(reset=True) from error
        if not data:
            self.changed()
            raise EndOfStreamError(reset=False)
        self.raw += data
        self._buffer += data

    async def begun(self) -> None:
        """Wait for the first byte of something."""
        while not self._buffer:
            await self._receive()

    async def line(self, message: Message) -> bytes:
        """Return the next line without its end; a line end that is not CRLF is a fault."""
        while (end := self._buffer.find(b"\n")) < 0:
            await self._receive()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if not line.endswith(b"\r\n"):
            message.faults.append("bare LF as line end")
        line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
        if b"\r" in line:
            message.faults.append("bare CR in a line")
        return line

    async def into(self, body: bytearray, length: int | None = None) -> None:
        """Append ``length`` bytes to ``body`` as they come; without a length, until the end."""
        remaining = length
        while remaining is None or remaining > 0:
            await self.begun()
            piece = self._buffer[:remaining]
            del self._buffer[: len(piece)]
            body += piece
            if remaining is not None:
                remaining -= len(piece)
            self.changed()

    async def some(self, body: bytearray) -> None:
        """Append what has arrived to ``body``."""
        await self.begun()
        body += self._buffer
        self._buffer.clear()
        self.changed()

    async def head(self, message: Message) -> None:
        """Read header or trailer lines up to the empty one; ``message.start`` is set already."""
        fields = message.fields
        while line := await self.line(message):
            if line[:1] in b" \t":
                message.faults.append("obs-fold")
            name, colon, value = line.partition(b":")
            if not colon:
                message.faults.append(f"no colon in field line {line[:40]!r}")
            elif not _TOKEN.fullmatch(name):
                message.faults.append(f"field name {name[:40]!r} is not a token")
            if _DANGEROUS_IN_VALUE.search(value):
                message.faults.append(f"CR, LF or NUL in field {name[:40]!r}")
            fields.append((name, value.strip(b" \t")))

    async def body(self, message: Message, *, default: str) -> None:
        """Read the body that the header fields announce.

        Parameters
        ----------
        default: What holds without Content-Length and Transfer-Encoding: ``none`` or ``close``.

        """
        message.framing, length = framing(message, default)
        if message.framing == "chunked":
            await self._chunked(message)
        elif message.framing == "length":
            await self.into(message.body, length)
        elif message.framing == "close":
            try:
                await self.into(message.body)
            except EndOfStreamError as end:
                message.complete = not end.reset
                raise
        message.complete = True
        self.changed()

    async def _chunked(self, message: Message) -> None:
        while True:
            size, semicolon, _ = (await self.line(message)).partition(b";")
            if semicolon:
                message.faults.append("chunk extension passed on")
            if not _CHUNK_SIZE.fullmatch(size):
                message.faults.append(f"chunk size {size[:40]!r}")
                raise UnreadableError
            if int(size, 16) == 0:
                break
            await self.into(message.body, int(size, 16))
            if await self.line(message):
                message.faults.append("chunk data is longer than its size")
        trailer = Message(b"")
        await self.head(trailer)
        message.trailers = trailer.fields
        message.faults += trailer.faults


def framing(message: Message, default: str) -> tuple[str, int]:
    """Return the kind of framing and the length (RFC 9112 section 6.3); note what is ambiguous."""
    codings, lengths = message.values("transfer-encoding"), message.values("content-length")
    if codings and lengths:
        message.faults.append("Transfer-Encoding beside Content-Length")
    if codings:
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            message.faults.append(f"Transfer-Encoding {b' | '.join(codings)!r}")
        if message.version == b"HTTP/1.0":
            message.faults.append("Transfer-Encoding in HTTP/1.0")
        return "chunked", 0
    if lengths:
        digits = re.match(rb"[0-9]{1,100}", lengths[0])
        length = int(digits[0]) if digits else 0
        if len(lengths) > 1 or not lengths[0].isdigit() or length > _MAX_LENGTH:
            message.faults.append(f"Content-Length {b' | '.join(lengths)[:60]!r}")
        return "length", length
    return default, 0


def check_request_start(message: Message) -> None:
    """Note a request line that departs from RFC 9112 section 3, and a Host that is not one."""
    if not _REQUEST_LINE.fullmatch(message.start):
        message.faults.append(f"request line {message.start[:60]!r}")
    if len(message.values("host")) != 1:
        message.faults.append(f"{len(message.values('host'))} Host fields")


def check_status_line(message: Message) -> None:
    """Note a status line that departs from RFC 9112 section 4."""
    if not _STATUS_LINE.fullmatch(message.start):
        message.faults.append(f"status line {message.start[:60]!r}")
