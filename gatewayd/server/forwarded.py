"""Who the client is, when the socket's other end is a proxy that is trusted.

``X-Forwarded-For`` is read from its right end, where the trusted proxies wrote: the first address
that is none of theirs is the client. Whatever stands further left is the client's own claim.
``Forwarded`` (RFC 7239) is read the same way where there is no ``X-Forwarded-For``.

Of that the text itself is read from its right end. What a client has put on the left, such as a
quote that it never closes, then changes nothing of what proxies have added.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import TYPE_CHECKING

from gatewayd.address import parse_address
from gatewayd.exchange import Peer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatewayd.address import Networks

# More hops than any sane chain of proxies; the field's size is bounded by the head's.
_MAX_HOPS = 32
_SCHEMES = ("http", "https")

# One parameter of a reversed ``Forwarded`` and what stands before it. A quote is escaped by an odd
# number of backslashes, which follow it here. Some proxies do not quote colons and brackets.
_PARAMETER = re.compile(
    r"""[ \t]*+
        (?:
            (?P<value> "(?:\\\\)*+(?!\\) (?: "\\(?:\\\\)*+(?!\\) | [^"] )*+ "
                     | [\w!#$%&'*+\-.^`|~:\[\]]++ )
            =
            (?P<name> [\w!#$%&'*+\-.^`|~]++ )
            [ \t]*+
        )?+
        (?P<before> [;,] | \Z )""",
    re.ASCII | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")


def client_of(peer: Peer, index: Mapping[bytes, bytes], trusted: Networks) -> Peer:
    """Return the client that trusted proxies tell of, or ``peer`` where they tell nothing.

    Args:
        peer: The socket's other end, which is trusted.
        index: Header fields, lower case.
        trusted: The networks of trusted proxies.

    """
    addresses, scheme = _reported(index)
    address = None
    for candidate in islice(addresses, _MAX_HOPS):
        try:
            ip = parse_address(candidate)
        except ValueError:
            break  # not an address: nothing left of it can be relied on
        # Without the zone (RFC 4007 section 11): it means something on that proxy only, and may be
        # any text, which then would stand in logs and in fields for the upstream.
        address = str(ip).partition("%")[0]
        if ip not in trusted:
            break
    if address is None and scheme is None:
        return peer
    return Peer(
        address or peer.address,
        0 if address else peer.port,
        scheme or peer.scheme,
        trusted=True,
        socket_address=peer.socket_address,
        certificate=peer.certificate,
    )


def _reported(index: Mapping[bytes, bytes]) -> tuple[Iterable[str], str | None]:
    """Return the addresses, from last proxy to client, and the scheme that the client used."""
    listed = index.get(b"x-forwarded-for")
    if listed is not None:
        proto = index.get(b"x-forwarded-proto", b"").decode("latin-1").strip().lower()
        parts = listed.decode("latin-1").split(",")
        return map(_bare, reversed(parts)), proto if proto in _SCHEMES else None
    forwarded = index.get(b"forwarded")
    if forwarded is not None:
        hops = _hops(forwarded.decode("latin-1"))
        last = next(hops, {})
        scheme = last.get("proto", "").lower()
        return map(_node, chain((last,), hops)), scheme if scheme in _SCHEMES else None
    proto = index.get(b"x-forwarded-proto", b"").decode("latin-1").strip().lower()
    return [], proto if proto in _SCHEMES else None


def _hops(field: str) -> Iterator[Mapping[str, str]]:
    """Read a ``Forwarded`` from its right end; a hop that is malformed ends it."""
    text = field[::-1]
    position = 0
    while True:
        parameters: dict[str, str] = {}
        before = ";"
        while before == ";":
            found = _PARAMETER.match(text, position)
            if found is None:
                return
            position, before = found.end(), found["before"]
            if found["name"] is not None:
                name = found["name"][::-1].lower()
                if name in parameters:
                    return
                parameters[name] = _unquoted(found["value"][::-1])
        yield parameters
        if not before:
            return


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def _node(hop: Mapping[str, str]) -> str:
    """Return a hop's address without its port, or what is none (RFC 7239 section 6)."""
    found = _NODE.fullmatch(hop.get("for", ""))
    return "" if found is None else found[1] or found[2] or found[3]


def _bare(part: str) -> str:
    """Strip the port that some proxies add to an address."""
    part = part.strip()
    if part.startswith("["):
        return part[1:].partition("]")[0]
    return part.partition(":")[0] if part.count(":") == 1 else part
