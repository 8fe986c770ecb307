"""A request as the command line describes it: a method, a URL, and header fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cyclopts import Parameter

from gatewayd.headers import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

_URL = re.compile(r"(?:(?i:https?)://(?P<host>[^/?#]+)|(?=/))(?P<target>[^#]*)(?:#.*)?")


def _check_method(_type: object, method: str) -> None:
    if not TOKEN.fullmatch(method.encode()):
        raise ValueError("expected a method, such as GET")


def _check_url(_type: object, url: str) -> None:
    if not _URL.fullmatch(url):
        raise ValueError("expected /path or http://host/path")
    _check_utf8(url)


def _check_header(_type: object, headers: tuple[str, ...]) -> None:
    for header in headers:
        if not TOKEN.fullmatch(header.partition(":")[0].encode()) or ":" not in header:
            raise ValueError("expected 'Name: value'")
        _check_utf8(header)


def _check_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("expected UTF-8") from None


METHOD = Parameter(help="Method, such as GET.", validator=_check_method)
TARGET = Parameter(help="Path with query, or a whole URL.", validator=_check_url)
HEADER = Parameter(
    name=["--header", "-H"],
    negative=(),
    help="A header field, as 'Name: value'; may be given several times.",
    validator=_check_header,
)


class Target(NamedTuple):
    """Where a request goes.

    Attributes:
        host: Host and port as the URL has them; ``None`` where it is a path only.
        target: Path and query.

    """

    host: str | None
    target: str


def parse_target(url: str) -> Target:
    """Take a URL apart that :data:`TARGET` has let pass."""
    parts = _URL.fullmatch(url)
    assert parts is not None  # noqa: S101  # the command line was checked
    target = parts["target"] if parts["target"].startswith("/") else f"/{parts['target']}"
    return Target(parts["host"], target)


def parse_fields(headers: Iterable[str]) -> list[tuple[str, str]]:
    """Return name and value of header fields that :data:`HEADER` has let pass, in their order."""
    return [(name, value.strip()) for name, _, value in (one.partition(":") for one in headers)]
