"""A response head as bytes, and how its body is framed (RFC 9112 section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gatewayd.errors import phrase, problem_response
from gatewayd.http_date import http_date

if TYPE_CHECKING:
    from gatewayd.body import Body
    from gatewayd.errors import Reject
    from gatewayd.exchange import Response
    from gatewayd.headers import Headers

_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {phrase(status)}\r\n".encode("ascii") for status in range(100, 600)
}


# How the client will know where the body ends. (Plain strings for the reason given in
# upstream/connection.py.)
NONE = "none"
LENGTH = "length"
CHUNKED_BODY = "chunked"
CLOSE = "close"

CONNECTION_CLOSE = b"Connection: close\r\n"
_BODILESS = frozenset({101, 204, 304})


def frame(response: Response, method: str, version: tuple[int, int]) -> tuple[str, int | None]:
    """Return the framing, and the Content-Length to declare, of a response to such a request."""
    body = response.body
    length = len(body) if type(body) is bytes else cast("Body", body).length
    if response.status in _BODILESS:
        # RFC 9110 section 8.6: no Content-Length in 1xx and 204; in 304 it is the selected
        # representation's, which only the upstream knows.
        return NONE, length if response.status == 304 and length else None
    if method == "HEAD":
        return NONE, length
    if length is not None:
        return LENGTH, length
    return (CHUNKED_BODY if version == (1, 1) else CLOSE), None


def encode_head(response: Response, framing: str, length: int | None, connection: bytes) -> bytes:
    """Return the head as bytes, its final empty line included.

    Args:
        response: Status and fields.
        framing: How the body is framed.
        length: Content-Length to declare, or ``None``.
        connection: Complete field lines about the connection; empty for the version's default.

    """
    fields = response.headers.encoded
    framed = b""
    if length is not None:
        framed = b"Content-Length: %d\r\n" % length
    elif framing == CHUNKED_BODY:
        framed = b"Transfer-Encoding: chunked\r\n"
    if b"\nDate: " not in fields and b"date" not in response.headers.index:
        # RFC 9110 section 6.6.1: of a response that has none, by whoever sends it on.
        framed += b"Date: %b\r\n" % http_date()
    return b"".join((_STATUS_LINES[response.status], fields, framed, connection, b"\r\n"))


def encode_refusal(reject: Reject, request_id: str, *, head_only: bool) -> bytes:
    """Return, as bytes, what answers a request that never became an exchange.

    Args:
        reject: Why.
        request_id: Its id.
        head_only: Whether a body would not be expected (RFC 9110 section 9.3.2).

    """
    response = problem_response(reject, request_id)
    body = cast("bytes", response.body)  # a problem document is short and complete
    head = encode_head(response, LENGTH, len(body), CONNECTION_CLOSE)
    return head if head_only else head + body


def encode_interim(status: int, headers: Headers) -> bytes:
    """Return a 1xx response as bytes."""
    return b"%b%b\r\n" % (_STATUS_LINES[status], headers.encoded)
