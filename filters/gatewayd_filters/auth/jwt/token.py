"""A token taken apart (RFC 7515 section 7.1), strictly: no two parsers may read it differently.

Nothing here is believed yet. Whatever a header says of keys (``jku``, ``x5u``, ``jwk``, ``x5c``) is
never looked at; ``kid`` is a name to look up.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from gatewayd import InvalidCredential
from gatewayd_filters.auth.jwt.keys import MAX_KID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class Token(NamedTuple):
    """The parts of a token.

    Attributes:
        algorithm: What the header says; to be compared with what a key allows.
        kid: Name of the key, ``None`` where the header has none.
        type: The header's ``typ``, lower case and without ``application/``; ``""`` for none.
        claims: The payload.
        signed: The bytes that the signature is over.
        signature: The signature.

    """

    algorithm: str
    kid: str | None
    type: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def parse_token(text: bytes) -> Token:
    """Take a token apart.

    Raises:
        InvalidCredential: it is malformed, or its header asks for what is not supported.

    """
    found = _COMPACT.fullmatch(text)
    if found is None:  # also one of five parts, which is encrypted, and one without a signature
        raise InvalidCredential("malformed")
    header = _object(_decode(found[1]))
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or not isinstance(kind, str):
        raise InvalidCredential("malformed")
    if "crit" in header:  # RFC 7515 section 4.1.11: none of what it may name is understood here
        raise InvalidCredential("critical_header")
    if "enc" in header or "zip" in header:
        raise InvalidCredential("malformed")
    if kid is not None and (not isinstance(kid, str) or len(kid) > MAX_KID_LENGTH):
        raise InvalidCredential("malformed")
    return Token(
        algorithm,
        kid,
        kind.lower().removeprefix("application/"),
        _object(_decode(found[2])),
        text[: found.end(2)],
        _decode(found[3]),
    )


def _decode(part: bytes) -> bytes:
    """Decode base64url without padding; one text for each value, as a token must have one form."""
    try:
        value = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise InvalidCredential("malformed") from None
    if base64.urlsafe_b64encode(value).rstrip(b"=") != part:
        raise InvalidCredential("malformed")  # bits of the last character that mean nothing
    return value


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_number
        )
        if b"\\u" in text:
            # Half of a surrogate pair is no character: it cannot be written down for an upstream,
            # where subjects that differ in nothing else would become one.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise InvalidCredential("malformed") from None
    if not isinstance(value, dict):
        raise InvalidCredential("malformed")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what RFC 7519 section 4 lets parsers read either way."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name stands twice")
    return value


def _no_number(_: str) -> NoReturn:
    raise ValueError("no number of JSON")
