"""What a client is known by: its address, or a value in its request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd import Exchange

PATTERN = r"^(ip|header:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|cookie:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|query:.+)$"
"""How the source of a key is written."""


_BEFORE_NAME = b"; "


def key_reader(source: str) -> Callable[[Exchange], bytes | None]:
    """Return what reads the key of an exchange; it gives ``None`` where there is none.

    Args:
        source: ``ip``, ``header:NAME``, ``cookie:NAME`` or ``query:NAME``.

    """
    kind, _, name = source.partition(":")
    raw = name.encode()
    match kind:
        case "header":
            field = raw.lower()
            return lambda exchange: exchange.request.headers.value(field)
        case "cookie":
            start = raw + b"="
            return lambda exchange: cookie(exchange, start)
        case "query":
            return lambda exchange: _parameter(exchange.request.query, name)
        case _:
            return lambda exchange: exchange.request.peer.address.encode()


def cookie(exchange: Exchange, start: bytes) -> bytes | None:
    """Return the value of the first cookie that starts with ``b"name="`` (RFC 6265 section 4.2)."""
    field = exchange.request.headers.value(b"cookie")
    if field is None:
        return None
    at = field.find(start)
    while at > 0 and field[at - 1] not in _BEFORE_NAME:
        at = field.find(start, at + 1)
    if at < 0:
        return None
    at += len(start)
    end = field.find(b";", at)
    return field[at:] if end < 0 else field[at:end]


def _parameter(query: str | None, name: str) -> bytes | None:
    """Return the value of the first query parameter of that name, as it was sent."""
    for pair in (query or "").split("&"):
        key, mark, value = pair.partition("=")
        if mark and key == name:
            return value.encode("utf-8", "surrogateescape")
    return None
