"""Who the client is, when the socket's other end is a proxy that is trusted.

``X-Forwarded-For`` is read from its right end, where the trusted proxies wrote: the first address
that is none of theirs is the client. Whatever stands further left is the client's own claim.
``Forwarded`` (RFC 7239) is read the same way where there is no ``X-Forwarded-For``.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from gatewayd.exchange import Peer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

# More hops than any sane chain of proxies; the field's size is bounded by the head's.
_MAX_HOPS = 32
_FOR = re.compile(r'(?i:for)="?\[?([0-9A-Fa-f:.]+?)\]?(?::[0-9]{1,5})?"?(?:;|$)')
_PROTO = re.compile(r'(?i:proto)="?(https?)"?(?:;|$)')


def client_of(
    peer: Peer, index: Mapping[bytes, bytes], trusted: Sequence[IPv4Network | IPv6Network]
) -> Peer:
    """Return the client that trusted proxies tell of, or ``peer`` where they tell nothing.

    Args:
        peer: The socket's other end, which is trusted.
        index: Header fields, lower case.
        trusted: The networks of trusted proxies.

    """
    addresses, scheme = _reported(index)
    address = None
    for candidate in reversed(addresses[-_MAX_HOPS:]):
        try:
            ip = ip_address(candidate)
        except ValueError:
            break  # not an address: nothing left of it can be relied on
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped  # as proxies write it that listen on a socket for both families
        address = str(ip)
        if not any(ip.version == net.version and ip in net for net in trusted):
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


def _reported(index: Mapping[bytes, bytes]) -> tuple[list[str], str | None]:
    """Return the addresses, from client to last proxy, and the scheme that the client used."""
    chain = index.get(b"x-forwarded-for")
    if chain is not None:
        proto = index.get(b"x-forwarded-proto", b"").decode("latin-1").strip().lower()
        addresses = [_bare(part) for part in chain.decode("latin-1").split(",")]
        return addresses, proto if proto in ("http", "https") else None
    forwarded = index.get(b"forwarded")
    if forwarded is not None:
        hops = [hop.strip() for hop in forwarded.decode("latin-1").split(",")]
        found = [_FOR.search(hop) for hop in hops]
        proto_match = _PROTO.search(hops[-1].lower())
        return [match[1] if match else "" for match in found], (
            proto_match[1] if proto_match else None
        )
    proto = index.get(b"x-forwarded-proto", b"").decode("latin-1").strip().lower()
    return [], proto if proto in ("http", "https") else None


def _bare(part: str) -> str:
    """Strip the port that some proxies add to an address."""
    part = part.strip()
    if part.startswith("["):
        return part[1:].partition("]")[0]
    return part.partition(":")[0] if part.count(":") == 1 else part
