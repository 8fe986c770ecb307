"""Both ends of the gateway as tests play them: raw sockets on which every byte is the test's.

No HTTP library stands between: what a library would never send, or would mend while it reads, is
what these tests are about. Every wait is bounded, so that a hanging gateway fails its test.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator

SECONDS = 10.0
"""Time for what should happen at once: generous, since CI machines are small and shared."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) [^\r\n]*")


@dataclass(frozen=True)
class Answer:
    """A response as it arrived.

    Attributes:
        status: Status code.
        fields: Header fields in wire order.
        body: The body, without its framing.
        trailers: Trailer fields.

    """

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()

    def all(self, name: str) -> list[str]:
        """Return the value of every line of this name."""
        return [value for other, value in self.fields if other.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """Return the value of the only line of this name, None where there is none."""
        values = self.all(name)
        assert len(values) < 2, f"{name} stands there {len(values)} times"
        return values[0] if values else None


class Wire:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int = 0, **tls: Any) -> Wire:
        """Connect to a port of 127.0.0.1.

        Args:
            port: The port.
            receive_buffer: Bytes that the kernel may hold unread; its own choice where 0.
            tls: For ``loop.create_connection``: ``ssl``, ``server_hostname``.

        """
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            async with asyncio.timeout(SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
                return cls(*await asyncio.open_connection(sock=sock, **tls))
        except BaseException:
            sock.close()
            raise

    @property
    def local_port(self) -> int:
        """The port of this end."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    @property
    def tls(self) -> ssl.SSLObject:
        """The TLS layer."""
        layer: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return layer

    def send(self, data: bytes) -> None:
        """Send bytes, or leave them to be sent."""
        self._writer.write(data)

    async def send_all(self, data: bytes) -> None:
        """Send bytes at the speed of the other end."""
        self._writer.write(data)
        async with asyncio.timeout(SECONDS):
            await self._writer.drain()

    async def read(self, count: int) -> bytes:
        """Return exactly so many bytes."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.readexactly(count)

    async def read_some(self) -> bytes:
        """Return what is there, at least a byte; nothing at the end of the connection."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.read(65536)

    async def read_until(self, separator: bytes) -> bytes:
        """Return what comes up to and with this."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.readuntil(separator)

    async def read_head(self) -> bytes:
        """Return the head of a message, its empty line included."""
        return await self.read_until(b"\r\n\r\n")

    async def read_to_end(self) -> bytes:
        """Return all that comes until the other end has closed its side."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.read()

    async def read_answer(self, method: str = "GET") -> Answer:
        """Return the next response, as it is framed for a request of this method."""
        first, *lines = (await self.read_head()).split(b"\r\n")[:-2]
        match = _STATUS_LINE.fullmatch(first)
        assert match, first
        answer = Answer(int(match[1]), _pairs(lines))
        if answer.status < 200 or answer.status in (204, 304) or method == "HEAD":
            return answer
        if answer.header("Transfer-Encoding") == "chunked":
            body, trailers = await self._read_chunks()
            return Answer(answer.status, answer.fields, body, trailers)
        length = answer.header("Content-Length")
        body = await self.read_to_end() if length is None else await self.read(int(length))
        return Answer(answer.status, answer.fields, body)

    async def _read_chunks(self) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        body = b""
        while size := int(await self.read_until(b"\r\n"), 16):
            body += await self.read(size)
            assert await self.read(2) == b"\r\n"
        lines = []
        while (line := await self.read_until(b"\r\n")) != b"\r\n":
            lines.append(line[:-2])
        return body, _pairs(lines)

    async def ask(self, request: bytes, method: str = "GET") -> Answer:
        """Send a request and return its response."""
        self.send(request)
        return await self.read_answer(method)

    def stop_reading(self) -> None:
        """Take nothing more, and with TLS answer nothing more, such as a farewell."""
        # A stream's transport is a socket's, which reads as well.
        cast("asyncio.Transport", self._writer.transport).pause_reading()

    def end(self) -> None:
        """Close the sending side."""
        self._writer.write_eof()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def cut(self) -> None:
        """End the connection without the farewell that TLS asks for."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Break the connection off, so that the other end gets a reset."""
        # Lingering for no time is what makes the kernel send RST instead of FIN.
        linger = b"\x01\0\0\0\0\0\0\0"
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


def _pairs(lines: list[bytes]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        assert colon, line
        pairs.append((name, value.strip(" \t")))
    return tuple(pairs)


class RawOrigin:
    """A server that does nothing but accept.

    Attributes:
        port: The port of 127.0.0.1 that it listens on.
        accepted: Connections accepted up to now.

    """

    def __init__(self) -> None:
        self.port = 0
        self.accepted = 0
        self._waiting: asyncio.Queue[Wire] = asyncio.Queue()
        self._wires: list[Wire] = []
        self._server: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """The URL of the instance that this is."""
        return f"http://127.0.0.1:{self.port}"

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        self.accepted += 1
        self._wires.append(wire)
        self._waiting.put_nowait(wire)

    async def accept(self) -> Wire:
        """Return the next connection."""
        async with asyncio.timeout(SECONDS):
            return await self._waiting.get()

    def close(self) -> None:
        """Stop listening, and close what is open."""
        if self._server is not None:
            self._server.close()
        for wire in self._wires:
            wire.close()


@asynccontextmanager
async def raw_origin(tls: ssl.SSLContext | None = None) -> AsyncIterator[RawOrigin]:
    """Run an origin on a free port."""
    origin = RawOrigin()
    await origin.start(tls)
    try:
        yield origin
    finally:
        origin.close()


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until the condition holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  # of things that tell nobody
            await asyncio.sleep(0.001)


def bounded(seconds: float = 3 * SECONDS) -> Iterator[None]:
    """Fail a test that hangs in spite of all bounds; the body of an autouse fixture."""

    def fail(*_: object) -> None:
        raise TimeoutError(f"the test hangs: {seconds:g} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
