"""What of a request must not stand in a log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

# The fragment as well: OAuth's implicit grant answers with a token there (RFC 6749 section 4.2.2).
_PARTS = re.compile("([?#])")
# Whatever stands before: ``bearer_token``, ``client-secret``, ``X-Amz-Signature``.
_SECRET_ENDS = (
    "_token", "-token", "_secret", "-secret", "_password", "-password", "_signature", "-signature",
)  # fmt: skip
REDACTED = "[redacted]"
LONGEST = 4096
"""Characters of a value that are logged; what a client sends may be longer than a log should be."""


class Redaction:
    """Hides the values of query parameters.

    Args:
        names: Names of parameters, in any case. Those that end in ``_token``, ``-secret`` and the
            like are hidden as well.

    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in names)

    def query(self, query: str) -> str:
        """Return a query with the values of secret parameters replaced."""
        return "&".join(
            [
                self._parameters(part) if ";" in part else self._parameter(part)
                for part in query.split("&")
            ]
        )

    def url(self, url: str) -> str:
        """Return a URL, such as that of Referer, with its query and its fragment redacted."""
        if "?" not in url and "#" not in url:
            return url
        return "".join(map(self.query, _PARTS.split(url)))

    def _parameters(self, text: str) -> str:
        """Return what stands between two ``&``, with semicolons in it.

        Some origins separate by these as well (HTML 4, appendix B.2.2); for the others they are of
        the value, so nothing of it is shown behind a secret one.
        """
        shown = []
        for parameter in text.split(";"):
            shown.append(self._parameter(parameter))
            if shown[-1] != parameter:
                break
        return ";".join(shown)

    def _parameter(self, parameter: str) -> str:
        name, equals, _ = parameter.partition("=")
        # An origin decodes the name, so the encoded one means the same.
        plain = (unquote_plus(name) if "%" in name or "+" in name else name).lower()
        # PHP and others take ``token[]`` for a list, and ``user[token]`` for a member.
        parts = plain.replace("]", "").split("[") if "[" in plain else (plain,)
        secret = equals and any(map(self._is_secret, parts))
        return f"{name}={REDACTED}" if secret else parameter

    def _is_secret(self, name: str) -> bool:
        return name in self._names or name.endswith(_SECRET_ENDS)


def shortened(text: str) -> str:
    """Return text of bounded length, and say so where it was cut."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}[{len(text) - LONGEST} more]"
