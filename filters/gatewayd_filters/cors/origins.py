"""Which origins may read responses."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

# A scheme, a name of 253 characters and a port; what is longer meets no pattern and no memory.
_LONGEST = 300
# Origins for which the patterns have been tried; bounded, as clients may send any.
_REMEMBERED = 1024


def checked_origin(value: str) -> str:
    """Return ``value`` as browsers write it.

    Raises:
        ValueError: it is neither an origin nor one of the patterns.

    """
    if value in ("*", "null"):
        return value
    if value.startswith("~"):
        try:
            _pattern(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value
    value = value.lower()
    parts = urlsplit(value)
    host = (parts.hostname or "").removeprefix("*.")
    if not host or "*" in host or "@" in value or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("expected scheme://host[:port] without a path; host may start with `*.`")
    if not value.isascii():
        raise ValueError("browsers send internationalised names in their xn-- form")
    if parts.port is not None and parts.port == {"http": 80, "https": 443}.get(parts.scheme):
        raise ValueError("browsers leave a default port out of the origin")
    return value


class Origins:
    """The allowed origins, as :func:`checked_origin` returns them."""

    def __init__(self, allowed: Sequence[str]) -> None:
        patterns = {one for one in allowed if one.startswith("~") or "://*." in one}
        self._any = "*" in allowed
        self._exact = frozenset(one.encode() for one in allowed if one not in patterns)
        self._patterns = [_pattern(one) for one in patterns]
        self._fits_pattern = lru_cache(_REMEMBERED)(self._try_patterns)

    def granted(self, origin: bytes) -> bytes | None:
        """Return what Access-Control-Allow-Origin says to ``origin``, ``None`` for a refusal."""
        if self._any:
            return b"*"
        if origin in self._exact:
            return origin
        if origin == b"null" or len(origin) > _LONGEST:
            return None
        return origin if self._fits_pattern(origin) else None

    def _try_patterns(self, origin: bytes) -> bool:
        return any(pattern.fullmatch(origin) for pattern in self._patterns)


def _pattern(allowed: str) -> re.Pattern[bytes]:
    if allowed.startswith("~"):
        return re.compile(allowed[1:].encode())
    name = rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
    return re.compile(re.escape(allowed.encode()).replace(rb"\*", name))
