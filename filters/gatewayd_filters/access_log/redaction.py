"""What of a request must not stand in a log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

# Some origins separate by semicolons as well (HTML 4, appendix B.2.2).
_SEPARATOR = re.compile("([&;])")
REDACTED = "[redacted]"
LONGEST = 4096
"""Characters of a value that are logged; what a client sends may be longer than a log should be."""


class Redaction:
    """Hides the values of query parameters.

    Args:
        names: Names of parameters, in any case.

    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in names)

    def query(self, query: str) -> str:
        """Return a query with the values of secret parameters replaced."""
        return "".join(map(self._parameter, _SEPARATOR.split(query)))

    def url(self, url: str) -> str:
        """Return a URL, such as that of Referer, with its query redacted."""
        before, mark, query = url.partition("?")
        return f"{before}?{self.query(query)}" if mark else url

    def _parameter(self, parameter: str) -> str:
        name, equals, _ = parameter.partition("=")
        # An origin decodes the name, so the encoded one means the same; PHP and others take
        # ``token[]`` for a list.
        plain = unquote_plus(name) if "%" in name or "+" in name else name
        secret = equals and plain.partition("[")[0].lower() in self._names
        return f"{name}={REDACTED}" if secret else parameter


def shortened(text: str) -> str:
    """Return text of bounded length, and say so where it was cut."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}[{len(text) - LONGEST} more]"
