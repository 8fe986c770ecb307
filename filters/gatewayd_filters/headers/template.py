"""Values with named parts: ``{params.project_id}`` and what else an exchange can tell.

A template is parsed once. What it stands for may have been chosen by a client, so it is made
harmless: a decoded path parameter may well hold a line break.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayd import Exchange, Principal

Source: TypeAlias = "Callable[[Exchange], str | None]"
"""Reads one value from an exchange; ``None`` where it has none."""


def _route_name(exchange: Exchange) -> str | None:
    return None if exchange.route is None else exchange.route.name


def _service_name(exchange: Exchange) -> str | None:
    service = exchange.service
    return None if service is None else service.name


def _of_principal(read: Callable[[Principal], str | None]) -> Source:
    """Read a value of the caller; absent for anonymous ones."""

    def source(exchange: Exchange) -> str | None:
        principal = exchange.principal
        return None if principal is None else read(principal)

    return source


def _claim(name: str) -> Source:
    return _of_principal(lambda principal: _claim_text(principal.claims.get(name)))


def _claim_text(value: object) -> str | None:
    """Return texts, numbers and truth values as JSON has them; lists and tables are none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


SOURCES: Mapping[str, Source] = {
    "request.id": lambda exchange: exchange.id,
    "request.method": lambda exchange: exchange.request.method,
    "request.path": lambda exchange: exchange.request.path,
    "request.host": lambda exchange: exchange.request.host,
    "request.scheme": lambda exchange: exchange.request.peer.scheme,
    "client.ip": lambda exchange: exchange.request.peer.address,
    "route.name": _route_name,
    "service.name": _service_name,
    "principal.id": _of_principal(lambda principal: principal.id),
    "principal.name": _of_principal(lambda principal: principal.name),
    "principal.email": _of_principal(lambda principal: principal.email),
    "principal.key_id": _of_principal(lambda principal: principal.key_id),
    "principal.method": _of_principal(lambda principal: principal.method),
}
"""What a template may name."""

FAMILIES: Mapping[str, Callable[[str], Source]] = {
    "params": lambda name: lambda exchange: exchange.params.get(name),
    "principal.claims": _claim,
}
"""What it may name that has names of its own, as ``params.project_id``: ``FAMILY.NAME``."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_UNSAFE = re.compile(r"[^\x20-\x7e]+")


class Template:
    """A value with named parts.

    Raises:
        ValueError: a name is unknown, a brace stands alone, or it has other characters than
            printable ASCII (RFC 9110 section 5.5).

    """

    def __init__(self, text: str) -> None:
        self._pieces: list[str | Source] = []
        if _UNSAFE.search(text):
            raise ValueError("expected printable ASCII characters")
        end = 0
        for found in _PIECE.finditer(text):
            self._pieces += [text[end : found.start()], _piece(found)]
            end = found.end()
        self._pieces.append(text[end:])

    def render(self, exchange: Exchange) -> str | None:
        """Return the value for one exchange, ``None`` where one of its parts is absent.

        Control characters and what is not ASCII are percent-encoded as UTF-8.
        """
        values = []
        for piece in self._pieces:
            value = piece if isinstance(piece, str) else piece(exchange)
            if value is None:
                return None
            values.append(value)
        return _UNSAFE.sub(lambda unsafe: quote(unsafe[0], errors="replace"), "".join(values))


def _piece(found: re.Match[str]) -> str | Source:
    if found[0] in ("{{", "}}"):
        return found[0][0]
    if found[1] is None:
        raise ValueError("a brace that stands for itself is written twice")
    if found[1] in SOURCES:
        return SOURCES[found[1]]
    for family, source_of in FAMILIES.items():
        # A name may have dots of its own, as claims that are URLs do (RFC 7519 section 4.2).
        name = found[1].removeprefix(f"{family}.")
        if name and name != found[1]:
            return source_of(name)
    known = [*SOURCES, *(f"{family}.NAME" for family in FAMILIES)]
    nearest = difflib.get_close_matches(found[1], known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    raise ValueError(f"unknown value {{{found[1]}}}; {hint}")
