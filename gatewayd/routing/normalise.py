r"""Path normalisation: once, before matching, and what is matched is what goes upstream.

A gateway that matches ``/public/%2e%2e/admin`` as something public, and sends it to an origin that
resolves it to ``/admin``, protects nothing. So every path is brought into one canonical form first,
and where no form is safe for all origins, it is refused (400 ``bad_path``).

In this order:

1. Refused always: what is not a path (``#``, ``?``, spaces, control characters), ``%`` without two
   hexadecimal digits, encoded control characters, ``%00`` among them.
2. Refused by policy: backslashes, encoded slashes.
3. Escapes of unreserved characters are decoded, other escapes get upper-case digits (RFC 3986
   section 6.2.2); octets that may not stand raw in a path are escaped. Octets that are not UTF-8
   stay as they are, encoded.
4. Refused by policy: double encoding, path parameters, empty segments, dot segments. Always
   refused: segments that some origins take for dots or for nothing (``/..;x/``, ``/;x/``, and
   ``..%2F`` where encoded slashes are kept).
5. Empty segments are merged, dot segments resolved (RFC 3986 section 5.2.4). Above the root there
   is nothing: 400, as nginx answers, although the RFC would drop the ``..``.

A normalised path is left as it is by a second normalisation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatewayd.errors import Reject
from gatewayd.routing.escapes import is_ordinary, replace_unusual, replacements, spellings

if TYPE_CHECKING:
    from gatewayd.config.schema import RoutingConfig

_SLASHES = re.compile("//+")

_ALWAYS_BEFORE = {
    "octets": (r"[\x00-\x20\x7f?#]|[^\x00-\xff]", "The path has characters that no path may have."),
    "escapes": (r"%(?![0-9A-Fa-f]{2})", "The path has a percent sign that begins no escape."),
    "controls": (r"%(?:[01][0-9A-Fa-f]|7[Ff])", "The path has encoded control characters."),
}
_ALWAYS_AFTER = {
    "hidden": (
        # dots before a parameter; nothing before a parameter inside the path; dots beside an
        # encoded slash
        r"/\.\.?(?:;|%3B|%2F|%5C)|/(?:;|%3B)[^/]*/|(?:%2F|%5C)\.\.?(?:[/;]|%3B|%2F|%5C|\Z)",
        "The path has hidden dot segments or empty segments.",
    ),
    # A character in more bytes than it needs (RFC 3629 section 10): %C0%AE is a dot to some. Old
    # decoders take five and six bytes as well.
    "overlong": (
        r"%C[01]%[89AB]|%E0%[89]|%F0%8|%F8%8[0-7]|%FC%8[0-3]",
        "The path has overlong UTF-8.",
    ),
}


def _bad(detail: str) -> Reject:
    return Reject(400, "bad_path", detail)


class _Refused:
    """Patterns that may not occur in a path, each with what the caller is told."""

    def __init__(self, refused: dict[str, tuple[str, str]]) -> None:
        self._details = {name: detail for name, (_, detail) in refused.items()}
        self._search = re.compile(
            "|".join(f"(?P<{name}>{pattern})" for name, (pattern, _) in refused.items())
        ).search

    def check(self, path: str) -> None:
        match = self._search(path)
        if match is not None:
            raise _bad(self._details[str(match.lastgroup)])


class PathPolicy:
    """The configured way to normalise paths.

    Args:
        config: What to do with paths that origins read in more than one way.

    """

    def __init__(self, config: RoutingConfig) -> None:
        self._before = _Refused(_ALWAYS_BEFORE | _refused_before(config))
        self._after = _Refused(_ALWAYS_AFTER | _refused_after(config))
        self._merges = config.duplicate_slashes == "merge"
        self._octets = replacements()
        if config.backslashes == "decode":
            self._octets["\\"] = "/"
        if config.encoded_slashes == "decode":
            self._octets |= dict.fromkeys(spellings(ord("/")) + spellings(ord("\\")), "/")

    def normalise(self, raw_path: str) -> str:
        """Return the path in canonical form, still percent-encoded.

        Args:
            raw_path: Path of the request target, without query, decoded as latin-1.

        Raises:
            Reject: 400 ``bad_path``: it is no path, or the policy refuses it.

        """
        if is_ordinary(raw_path):
            return raw_path
        if not raw_path.startswith("/"):
            raise _bad("The path does not begin with a slash.")
        self._before.check(raw_path)
        path = replace_unusual(raw_path, self._octets)
        self._after.check(path)
        if self._merges and "//" in path:
            path = _SLASHES.sub("/", path)
        if "/." in path:
            path = _without_dot_segments(path)
        return path


def _refused_before(config: RoutingConfig) -> dict[str, tuple[str, str]]:
    refused = {}
    if config.backslashes == "reject":
        refused["backslashes"] = (r"\\", "The path has backslashes.")
    if config.encoded_slashes == "reject":
        refused["slashes"] = ("%2[Ff]|%5[Cc]", "The path has encoded slashes.")
    elif config.encoded_slashes == "decode" and config.backslashes == "reject":
        refused["slashes"] = ("%5[Cc]", "The path has encoded backslashes.")
    return refused


def _refused_after(config: RoutingConfig) -> dict[str, tuple[str, str]]:
    refused = {}
    if config.double_encoding == "reject":
        # Looked for after decoding, which turns %25%32%46 into %252F.
        refused["double"] = ("%25[0-9A-Fa-f]{2}", "The path is encoded twice.")
    if config.path_parameters == "reject":
        refused["parameters"] = (";", "The path has path parameters.")
    if config.duplicate_slashes == "reject":
        refused["empty"] = ("//", "The path has empty segments.")
    if config.dot_segments == "reject":
        refused["dots"] = (r"/\.\.?(?:/|\Z)", "The path has dot segments.")
    return refused


def _without_dot_segments(path: str) -> str:
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if not kept:
                raise _bad("The path leads above the root.")
            kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")  # what ends in a dot segment is a directory
    return "/" + "/".join(kept)
