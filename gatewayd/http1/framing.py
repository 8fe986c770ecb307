"""Where a message body ends (RFC 9112 sections 6 and 7): decoders without I/O, the same both ways.

A decoder takes what was read, feeds the body's bytes to a :class:`StreamBody`, and returns the
bytes behind the body's end once that is reached. It is strict where leniency lets two parties
disagree: a chunk line is hexadecimal digits and perhaps an extension, every line ends with CRLF.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from gatewayd.headers import CONNECTION_LEVEL, Headers, as_cgi_reads
from gatewayd.http1.grammar import TRAILERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.body import StreamBody

# Sizes of a chunk of up to 2^60 bytes; more digits are how 64-bit counters are made to overflow.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_MAX_CHUNK_LINE = 1024  # extensions are ignored; nobody needs long ones
_MAX_TRAILER_BYTES = 8192
_MAX_TRAILERS = 64

# RFC 9110 section 6.5.1: fields about framing, routing, authentication, request modifiers, content
# and response control mean nothing at the end, or something dangerous.
FORBIDDEN_TRAILERS = CONNECTION_LEVEL | {
    b"authorization", b"cache-control", b"content-encoding", b"content-range", b"content-type",
    b"cookie", b"date", b"expect", b"expires", b"forwarded", b"host", b"location", b"max-forwards",
    b"pragma", b"range", b"set-cookie", b"vary", b"via", b"www-authenticate",
}  # fmt: skip


class FramingError(Exception):
    """The bytes of a body do not follow its framing; nothing behind them can be trusted."""


class Decoder(Protocol):
    """Finds the end of a body."""

    def feed(self, data: bytes) -> bytes | None:
        """Take what was read; return what lies behind the end, ``None`` before the end.

        Raises:
            FramingError: the message is malformed.

        """

    def feed_eof(self) -> bool:
        """Take the end of the connection; return whether it is the end of the body as well."""


class LengthDecoder:
    """A body of ``length`` bytes, announced by Content-Length."""

    __slots__ = ("_body", "_left")

    def __init__(self, body: StreamBody, length: int) -> None:
        self._body = body
        self._left = length

    def feed(self, data: bytes) -> bytes | None:
        """See :meth:`Decoder.feed`."""
        if len(data) < self._left:
            self._left -= len(data)
            self._body.feed(data)
            return None
        rest = data[self._left :]
        self._body.feed(data[: self._left] if rest else data)
        self._left = 0
        self._body.feed_end()
        return rest

    def feed_eof(self) -> bool:
        """Return False: the body was not complete."""
        return False


class CloseDecoder:
    """A response body that ends where the connection does (RFC 9112 section 6.3, item 8)."""

    __slots__ = ("_body",)

    def __init__(self, body: StreamBody) -> None:
        self._body = body

    def feed(self, data: bytes) -> bytes | None:
        """See :meth:`Decoder.feed`; the end never comes here."""
        self._body.feed(data)
        return None

    def feed_eof(self) -> bool:
        """End the body."""
        self._body.feed_end()
        return True


class ChunkedDecoder:
    """A chunked body (RFC 9112 section 7.1).

    ``_left`` is what the current chunk still lacks, its final CRLF included; 0 between chunks.
    ``_line`` holds a line that has not fully arrived; ``_ending`` is set after the last chunk.

    Args:
        body: Is fed with the chunks' content.
        forbids: Whether a trailer field is dropped; asked for its name as CGI reads it.

    """

    __slots__ = ("_body", "_ending", "_forbids", "_left", "_line", "_trailers")

    def __init__(
        self,
        body: StreamBody,
        forbids: Callable[[bytes], bool] = FORBIDDEN_TRAILERS.__contains__,
    ) -> None:
        self._body = body
        self._forbids = forbids
        self._left = 0
        self._line = b""
        self._ending = False
        self._trailers = b""

    def feed(self, data: bytes) -> bytes | None:
        """See :meth:`Decoder.feed`."""
        if self._line:
            data = self._line + data
            self._line = b""
        position = 0
        while position < len(data):
            if self._left:
                position = self._take_chunk(data, position)
                continue
            end = data.find(b"\n", position) + 1
            if not end:
                self._keep_partial_line(data[position:])
                return None
            line = data[position:end]
            position = end
            if self._ending:
                if line == b"\r\n":
                    self._body.feed_end(self._parse_trailers())
                    return data[position:]
                self._add_trailer(line)
            else:
                self._start_chunk(line)
        return None

    def _take_chunk(self, data: bytes, position: int) -> int:
        """Feed what is here of the current chunk; return the position behind it."""
        content = self._left - 2
        if content > 0:
            piece = data[position : position + content]
            self._body.feed(piece)
            self._left -= len(piece)
            position += len(piece)
        if self._left <= 2 and position < len(data):  # CRLF
            tail = data[position : position + self._left]
            if not b"\r\n"[2 - self._left :].startswith(tail):
                raise FramingError("a chunk is longer than it says")
            self._left -= len(tail)
            position += len(tail)
        return position

    def _start_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None or len(line) > _MAX_CHUNK_LINE:
            raise FramingError("bad chunk line")
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._ending = True

    def _keep_partial_line(self, line: bytes) -> None:
        limit = _MAX_TRAILER_BYTES if self._ending else _MAX_CHUNK_LINE
        if len(line) > limit:
            raise FramingError("a chunk line or trailer is too long")
        self._line = line

    def _add_trailer(self, line: bytes) -> None:
        self._trailers += line
        if (
            len(self._trailers) > _MAX_TRAILER_BYTES
            or self._trailers.count(b"\n") > _MAX_TRAILERS
            or not TRAILERS.fullmatch(line)
        ):
            raise FramingError("bad or too many trailer fields")

    def _parse_trailers(self) -> Headers | None:
        pairs = []
        for line in self._trailers.splitlines():
            name, _, value = line.partition(b":")
            if not self._forbids(as_cgi_reads(name)):
                pairs.append((name, value.strip(b" \t")))
        return Headers.of_lines(pairs) if pairs else None

    def feed_eof(self) -> bool:
        """Return False: the last chunk is missing."""
        return False


def encode_chunk(piece: bytes) -> bytes:
    """Return a piece (not empty) of a body as one chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def encode_last_chunk(trailers: Headers | None) -> bytes:
    """Return the last chunk with its trailer section."""
    if trailers is None:
        return b"0\r\n\r\n"
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % pair for pair in trailers.raw])
