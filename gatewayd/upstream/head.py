"""A response head: parsed by httptools (llhttp), then checked for what llhttp lets through.

llhttp accepts RTSP, HTTP/2.0 and status 999, line ends before the status line, control characters
in it, transfer codings that it does not know, Transfer-Encoding in HTTP/1.0, and heads of any size
(reproduced with httptools 0.9). A gateway that guesses where such a message ends can be made to mix
up responses, so all of these are refused.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import httptools

from gatewayd.headers import CONNECTION_LEVEL, TOKEN, Headers
from gatewayd.http1.grammar import CONTENT_LENGTH, STATUS_LINE, list_members

if TYPE_CHECKING:
    from collections.abc import Collection

# Responses that never have a body (RFC 9112 section 6.3, items 1 and 2).
_BODILESS = frozenset({204, 304})
UNTIL_CLOSE = -1
CHUNKED = -2


class HeadError(Exception):
    """The head of a response cannot be forwarded; the message says why."""


class ResponseHead:
    """What a response head says.

    Attributes:
        status: 100 to 599.
        headers: The fields, without those that frame the message or end at this hop.
        content_length: As declared, also where there is no body (HEAD, 304).
        framing: Bytes of the body, or ``CHUNKED``, or ``UNTIL_CLOSE``; answers to HEAD have none,
            whatever it says (RFC 9112 section 6.3).
        keep_alive: Whether the connection outlives this response, as the server says.
        upgrade: Protocol that the server switches to, lower case.

    """

    __slots__ = ("content_length", "framing", "headers", "keep_alive", "status", "upgrade")

    def __init__(self, status: int, fields: _Fields, *, http_1_0: bool) -> None:
        members: list[bytes] = []
        if fields.connection is not None:
            members = list_members(fields.connection)
            _drop_named(fields, members)
        self.status = status
        self.headers = Headers.of_lines(fields.lines)
        self.content_length, chunked = _declared_length(fields, http_1_0=http_1_0)
        self.keep_alive = b"close" not in members and (not http_1_0 or b"keep-alive" in members)
        self.upgrade = fields.upgrade if b"upgrade" in members else None
        self.framing = self._framing(chunked=chunked)

    def _framing(self, *, chunked: bool) -> int:
        if self.status in _BODILESS or self.status < 200:
            return 0
        if chunked:
            return CHUNKED
        return UNTIL_CLOSE if self.content_length is None else self.content_length


class _Fields:
    """Callbacks of httptools: sorts fields into those that travel on and those of this hop."""

    __slots__ = ("connection", "content_length", "lines", "transfer_encoding", "upgrade")

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bytes]] = []
        self.connection: bytes | None = None
        self.content_length: bytes | None = None
        self.transfer_encoding: bytes | None = None
        self.upgrade: bytes | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.lower()
        value = value.strip(b" \t")
        if key in CONNECTION_LEVEL:
            self._take_connection_level(key, value)
        else:
            self.lines.append((name, value))

    def _take_connection_level(self, key: bytes, value: bytes) -> None:
        if key == b"content-length":
            if self.content_length is not None:
                raise HeadError("more than one Content-Length")
            self.content_length = value
        elif key == b"transfer-encoding":
            if self.transfer_encoding is not None:
                raise HeadError("more than one Transfer-Encoding")
            self.transfer_encoding = value
        elif key == b"connection":
            before = self.connection
            self.connection = value if before is None else before + b"," + value
        elif key == b"upgrade":
            self.upgrade = value.lower()


def parse_head(head: bytes, max_fields: int) -> ResponseHead:
    """Parse a complete head, its final empty line included.

    Args:
        head: The bytes of the head.
        max_fields: Fields allowed.

    Raises:
        HeadError: it is malformed, or its framing is ambiguous.

    """
    line = STATUS_LINE.match(head)
    if line is None:
        raise HeadError("bad status line")
    fields = _Fields()
    try:
        with suppress(httptools.HttpParserUpgrade):  # llhttp stops behind the head of a 101
            httptools.HttpResponseParser(fields).feed_data(head)
    except httptools.HttpParserError as error:
        cause = error.__context__ if isinstance(error.__context__, HeadError) else error
        raise HeadError(str(cause)) from error
    if len(fields.lines) > max_fields:
        raise HeadError(f"more than {max_fields} header fields")
    return ResponseHead(int(line[2]), fields, http_1_0=line[1] == b"0")


def _drop_named(fields: _Fields, members: Collection[bytes]) -> None:
    """Drop the fields that Connection names (RFC 9110 section 7.6.1)."""
    if not all(map(TOKEN.fullmatch, members)):
        raise HeadError("bad Connection field")
    named = frozenset(members) - {b"close", b"keep-alive", b"upgrade"}
    if named:
        fields.lines = [pair for pair in fields.lines if pair[0].lower() not in named]


def _declared_length(fields: _Fields, *, http_1_0: bool) -> tuple[int | None, bool]:
    """Return the declared length, and whether the body is chunked (RFC 9112 section 6.3)."""
    length = fields.content_length
    if length is not None and not CONTENT_LENGTH.fullmatch(length):
        raise HeadError("bad Content-Length")
    coding = fields.transfer_encoding
    if coding is None:
        return (None if length is None else int(length)), False
    if http_1_0:
        raise HeadError("Transfer-Encoding in HTTP/1.0")
    if coding.lower() != b"chunked":
        raise HeadError("unknown Transfer-Encoding")
    if length is not None:
        raise HeadError("Transfer-Encoding and Content-Length")
    return None, True


class HeadCache:
    """Heads that a service has sent before, by their bytes.

    An instance that answers the same thing again sends the same head, to the byte within one second
    of its Date. Parsing costs 8 us of a request's 26, looking it up 0.2 (both measured under load).
    What is kept is bounded in number and size (2 MB at worst), and never a Set-Cookie.

    Args:
        max_fields: Fields allowed.

    """

    __slots__ = ("_heads", "_max_fields")

    MAX_HEADS = 256
    MAX_BYTES = 2048

    def __init__(self, max_fields: int) -> None:
        self._heads: dict[bytes, ResponseHead] = {}
        self._max_fields = max_fields

    def parse(self, head: bytes) -> ResponseHead:
        """Parse a head whose empty line was cut off.

        What is returned is shared: its headers are for copying, not for changing.

        Raises:
            HeadError: see :func:`parse_head`.

        """
        parsed = self._heads.get(head)
        if parsed is None:
            parsed = parse_head(head + b"\r\n\r\n", self._max_fields)
            if len(head) <= self.MAX_BYTES and b"set-cookie" not in parsed.headers.index:
                if len(self._heads) >= self.MAX_HEADS:
                    self._heads.clear()
                self._heads[head] = parsed
        return parsed
