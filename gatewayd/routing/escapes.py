"""Percent-encoding in paths: the spellings that mean the same, and the one that is used.

RFC 3986 lets one path be spelled in many ways, and whoever compares spellings instead of paths is
walked around. Two forms are used here:

* The **canonical** form goes upstream. Unreserved characters stand for themselves, every other
  escape has upper-case digits and stays (section 6.2.2), and what may not stand raw is escaped.
* The **matching** form is what routes are compared in. Reserved characters that may stand raw in a
  segment (``:``, ``@``, ``+``, ...) are decoded in it as well: to most origins ``/a%3Ab`` is
  ``/a:b``, so a route for one has to see the other. Path parameters (``;name=value``) are left
  out: servlet containers read ``/admin;x/y`` as ``/admin/y``, so the route for ``/admin`` takes
  it. This form is never sent, because origins exist to which the two differ (section 2.2).
"""

from __future__ import annotations

import re
import string
from itertools import product
from urllib.parse import quote, unquote

UNRESERVED = string.ascii_letters + string.digits + "-._~"
"""RFC 3986 section 2.3."""
RESERVED = "!$&'()*+,;=:@"
"""Reserved characters that may stand raw in a segment (RFC 3986 section 3.3)."""

_WORD = r"A-Za-z0-9_~!$&'()*+,=:@\-"
# Canonical escapes that mean the same to everybody: none of unreserved or control characters,
# nor %25, %2F, %3B or %5C, which policies are about, nor what may begin an overlong form.
_PLAIN_ESCAPE = (
    "%(?:2[0-46-9A-C]|3[AC-F]|[46]0|5[BDE]|7[B-D]|[89ABD][0-9A-F]|C[2-9A-F]|E[1-9A-F]|F[1-79ABD-F])"
)
# A path without dot segments, empty segments or ";". No two parts of it can begin with the same
# character, so a path that is not ordinary is given up in linear time. (Not possessive: CPython
# 3.11.2, which is Debian 12's, lets "//" through a possessive group.)
is_ordinary = re.compile(
    rf"(?=/)(?:/\.?(?:[{_WORD}][{_WORD}.]*|{_PLAIN_ESCAPE})(?:{_PLAIN_ESCAPE}[{_WORD}.]*)*)*/?"
).fullmatch
"""Matches paths that are canonical as they stand, which is nearly all of them."""

_UNUSUAL = re.compile(rf"%[0-9A-Fa-f]{{2}}|[^{_WORD}./;]")
_RESERVED_ESCAPE = re.compile("%(?:" + "|".join(f"{ord(one):02X}" for one in RESERVED) + ")")
_PATH_PARAMETERS = re.compile(";[^/]*")
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f?#\\]|%(?![0-9A-Fa-f]{2})|%(?:[01][0-9A-Fa-f]|7[Ff])")
_DOT_SEGMENT = re.compile(r"/\.\.?(?:/|;|%3B|%2F|%5C|\Z)")


def spellings(octet: int) -> list[str]:
    """Return all escapes of an octet: ``%2F`` and ``%2f``."""
    digits = f"{octet:02X}"
    return ["%" + "".join(each) for each in product(*({digit, digit.lower()} for digit in digits))]


def replacements() -> dict[str, str]:
    """Return a new table from every escape and every raw octet to its canonical form."""
    table: dict[str, str] = {}
    for octet in range(256):
        raw = chr(octet)
        canonical = raw if raw in UNRESERVED else f"%{octet:02X}"
        table |= dict.fromkeys(spellings(octet), canonical)
        table[raw] = canonical
    return table


_REPLACEMENTS = replacements()


def replace_unusual(path: str, table: dict[str, str] = _REPLACEMENTS) -> str:
    """Return ``path`` (one character per octet) with escapes and unusual octets as in ``table``."""
    return _UNUSUAL.sub(lambda match: table[match[0]], path)


def canonical(path: str) -> str:
    """Return a path that a configuration or a rewrite made, in canonical form.

    Raises:
        ValueError: it is relative, has dot segments, a query, a backslash, control characters
            (encoded or not) or escapes that are none.

    """
    if is_ordinary(path):
        return path
    if not path.startswith("/"):
        raise ValueError("a path begins with a slash")
    if match := _UNUSABLE.search(path):
        raise ValueError(f"{match[0]!r} may not stand in a path")
    path = replace_unusual(path.encode().decode("latin-1"))
    if _DOT_SEGMENT.search(path):
        raise ValueError("a path may not have dot segments")
    return path


def matching(path: str) -> str:
    """Return the matching form of a canonical path."""
    if ";" in path:
        path = _PATH_PARAMETERS.sub("", path)
    return _RESERVED_ESCAPE.sub(lambda match: chr(int(match[0][1:], 16)), path)


def decode(text: str) -> str:
    """Return ``text`` percent-decoded as UTF-8; octets that are not UTF-8 become U+FFFD."""
    return unquote(text) if "%" in text else text


# What tells segments apart, and "%" itself, so that what stays escaped can be told from data.
_STRUCTURAL = re.compile(r"(%(?:2F|5C|25))")


def decode_segments(text: str) -> str:
    """Decode several segments as :func:`decode` does; ``%2F``, ``%5C`` and ``%25`` stay encoded.

    So the result still has its segments, and :func:`encode` gives the same path back.
    """
    if "%" not in text:
        return text
    # Split with a group: structural escapes stand at the odd places.
    pieces = _STRUCTURAL.split(text)
    return "".join(piece if place % 2 else unquote(piece) for place, piece in enumerate(pieces))


# ";" is left out: a decoded one must not begin a path parameter.
RAW_IN_SEGMENT = RESERVED.replace(";", "")
"""Reserved characters that a value may bring into a segment."""


def encode(value: str, *, raw: str = "", segments: bool = False) -> str:
    """Encode a decoded path parameter, so that it stays within the place that it is put in.

    Args:
        value: What :func:`decode` returned, or :func:`decode_segments` where ``segments`` is set.
        raw: Reserved characters that stay as they are.
        segments: Whether slashes and escapes stay as well.

    Raises:
        ValueError: octets that were not UTF-8 have been lost in it.

    """
    if "\ufffd" in value:
        # To go on would make two resources one.
        raise ValueError("a path parameter is not UTF-8")
    return quote(value, safe=raw + ("/%" if segments else ""))
