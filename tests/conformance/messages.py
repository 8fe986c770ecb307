"""Requests as bytes, for the case tables."""

from __future__ import annotations

HOST = b"Host: gateway.test"


def request(
    *lines: bytes,
    method: bytes = b"GET",
    target: bytes = b"/t/",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = HOST,
    body: bytes = b"",
) -> bytes:
    """Return a request; nothing is added but what is given."""
    start = b" ".join((method, target, version))
    hosts = [] if host is None else [host]
    return b"\r\n".join([start, *hosts, *lines, b"", body])


def post(*lines: bytes, body: bytes = b"", target: bytes = b"/t/") -> bytes:
    """Return a POST request without any framing but what the lines say."""
    return request(*lines, method=b"POST", target=target, body=body)


def sized(body: bytes, *lines: bytes, method: bytes = b"POST", target: bytes = b"/t/") -> bytes:
    """Return a request with Content-Length."""
    length = b"Content-Length: %d" % len(body)
    return request(length, *lines, method=method, target=target, body=body)


def chunked(body: bytes, *lines: bytes, target: bytes = b"/t/") -> bytes:
    """Return a POST request with Transfer-Encoding: chunked and this body as it stands."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body, target=target)


HELLO = b"5\r\nhello\r\n0\r\n\r\n"
"""A chunked body."""

SMUGGLED = b"GET /t/smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
"""A request that must only ever be seen as one where it stands on its own."""
