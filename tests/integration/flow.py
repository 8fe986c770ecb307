"""One big body on its way, with its writer and its reader in threads of the test.

Both ends count and hash what they see, so that a test can tell whether all of it has arrived, and
how far the writer was ahead while the reader was slow.
"""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase

BLOCK = 1 << 18
"""Bytes written at once; no two blocks of a body are equal."""

SLOW_RATE = 1_000_000
"""Bytes per second of a slow reader."""

TIMEOUT = 60.0
"""Seconds in which something must arrive; a slow reader holds its writer for less."""

_NOISE = random.Random(1).randbytes(BLOCK - 8)


class Readable(Protocol):
    """What a body is read from."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer as far as possible; 0 at the end."""


class Flow:
    """A body.

    Args:
        size: Its length, a multiple of `BLOCK`.
        chunked: Whether it is sent in chunks, or with a Content-Length.
        slow_bytes: How much of it the reader takes at `SLOW_RATE`; the rest as fast as it can.

    Attributes:
        written: Bytes that the writer has got rid of.
        read: Bytes that the reader has taken.
        ahead: Bytes that the writer was ahead when the reader stopped being slow.

    """

    def __init__(self, size: int, *, chunked: bool, slow_bytes: int = 0) -> None:
        self.size = size
        self.chunked = chunked
        self.written = 0
        self.read = 0
        self.ahead = 0
        self._slow_bytes = slow_bytes
        self._sent = hashlib.sha256()
        self._received = hashlib.sha256()

    @property
    def framing(self) -> tuple[str, str]:
        """The header field that tells where it ends."""
        if self.chunked:
            return "Transfer-Encoding", "chunked"
        return "Content-Length", str(self.size)

    @property
    def intact(self) -> bool:
        """Whether the reader has got exactly what was sent."""
        return self.read == self.size and self._received.digest() == self._sent.digest()

    def blocks(self) -> Iterator[bytes]:
        """Yield the body to its writer."""
        for number in range(self.size // BLOCK):
            block = number.to_bytes(8) + _NOISE
            self._sent.update(block)
            yield block
            self.written += BLOCK

    def drain(self, source: Readable) -> None:
        """Be the reader, until the end."""
        buffer = memoryview(bytearray(BLOCK))
        while count := source.readinto(buffer):
            self._received.update(buffer[:count])
            self.read += count
            if self.read <= self._slow_bytes:
                time.sleep(count / SLOW_RATE)
                self.ahead = self.written - self.read


class FlowOrigin(ThreadingHTTPServer):
    """An origin that sends a flow to who asks with GET, and reads it from who sends it with PUT."""

    daemon_threads = True

    def __init__(self, flow: Flow) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.flow = flow

    def __enter__(self) -> Self:
        self._thread = Thread(target=self.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlowOrigin

    def do_GET(self) -> None:
        flow = self.server.flow
        self.send_response(200)
        self.send_header(*flow.framing)
        self.end_headers()
        for block in flow.blocks():
            self.wfile.write(b"%x\r\n%b\r\n" % (BLOCK, block) if flow.chunked else block)
        if flow.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def do_PUT(self) -> None:
        length = self.headers["Content-Length"]
        self.server.flow.drain(_RequestBody(self.rfile, None if length is None else int(length)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _RequestBody:
    """A request body, with its framing taken off.

    Args:
        source: What is read from.
        length: Its length; chunked without one.

    """

    def __init__(self, source: BufferedIOBase, length: int | None) -> None:
        self._source = source
        self._chunked = length is None
        self._left = length or 0

    def readinto(self, buffer: memoryview) -> int:
        """See `Readable`."""
        if not self._left and self._chunked:
            self._left = int(self._source.readline(), 16)
            if not self._left:
                self._chunked = False  # no more of them
                self._source.readline()
        count = self._source.readinto(buffer[: self._left])
        self._left -= count
        if not self._left and self._chunked:
            self._source.readline()
        return count


def download(port: int, flow: Flow) -> None:
    """Be the client that reads the flow."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as client:
        client.request("GET", "/")
        flow.drain(client.getresponse())


def upload(port: int, flow: Flow) -> None:
    """Be the client that writes the flow."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as client:
        framing = dict([flow.framing])
        client.request("PUT", "/", flow.blocks(), framing, encode_chunked=flow.chunked)
        assert client.getresponse().status == 204
