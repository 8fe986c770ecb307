"""Whose bucket it is: what callers are told apart by.

A key is text, the same on all nodes. It holds nothing that a client may choose without bound: what
is long, or has characters of its own meaning, is there as its hash.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gatewayd import parse_address

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from gatewayd import Exchange

Part = Annotated[
    str,
    Field(
        pattern=r"^(principal|api_key|ip|route|service|header:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|claim:.+)$"
    ),
]
"""One thing that a key consists of."""

Scope = Literal["auto", "gateway", "service", "route"]
"""How far one caller's bucket reaches; ``auto`` is the layer that sets the limit."""

ABSENT = "-"
"""Stands for a header, claim, route or service that is not there: all who have none share it."""

_LONGEST = 64
_PLAIN = re.compile(rf"[0-9A-Za-z._:@/+-]{{1,{_LONGEST}}}")


def plain(value: str) -> str:
    """Return a value as it stands in keys: itself where it is short and plain, else its hash."""
    if _PLAIN.fullmatch(value) and value != ABSENT:
        return value
    return "#" + blake2b(value.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def network_of(address: str, ipv6_prefix: int) -> str:
    """Return what an address is counted as: an IPv6 client has a whole network of them."""
    try:
        ip = parse_address(address)
    except ValueError:
        return plain(address)  # the peer of a Unix socket
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip_network((int(ip), ipv6_prefix), strict=False))


def scope_of(exchange: Exchange, scope: Scope, filter_name: str, settings: Iterable[str]) -> str:
    """Return what begins the key: how far one caller's bucket reaches.

    Args:
        exchange: The exchange.
        scope: What the configuration says.
        filter_name: Whose settings they are.
        settings: The keys that set a limit; the layer that has one of them is the limit's.

    """
    route, service = exchange.route, exchange.service

    def is_of(layer: str, filters: Mapping[str, object]) -> bool:
        own = filters.get(filter_name)
        sets = isinstance(own, dict) and not own.keys().isdisjoint(settings)
        return scope == layer or (scope == "auto" and sets)

    if route is not None and is_of("route", route.config.filters):
        return f"route/{plain(route.name)}"
    if service is not None and is_of("service", service.config.filters):
        return f"service/{plain(service.name)}"
    return "gateway"


class Keys:
    """Reads keys from exchanges.

    Args:
        parts: What they consist of.
        ipv6_prefix: Bits of an IPv6 address that count.

    """

    def __init__(self, parts: Sequence[str], ipv6_prefix: int) -> None:
        self._parts = parts
        self._headers = tuple(
            part.partition(":")[2].lower().encode() for part in parts if part.startswith("header:")
        )
        self._simple = not self._headers and "ip" not in parts
        self._network = lru_cache(maxsize=4096)(lambda ip: network_of(ip, ipv6_prefix))

    def identity(self, exchange: Exchange) -> Hashable:
        """Return what is equal for exchanges that have the same key; made in a moment."""
        principal = exchange.principal
        request = exchange.request
        if self._simple:
            caller = principal or request.peer.address
            return (caller, exchange.route, exchange.service)
        values = [request.headers.value(name) or b"" for name in self._headers]
        if any(len(value) > _LONGEST for value in values):  # which are not to be kept
            values = [blake2b(value, digest_size=16).digest() for value in values]
        address = request.peer.address
        return (principal, exchange.route, exchange.service, address, *values)

    def text(self, exchange: Exchange) -> str:
        """Return the key."""
        return "|".join([self._part(part, exchange) for part in self._parts])

    def caller(self, exchange: Exchange) -> str:
        """Return the key of a caller that has a limit of its own.

        That counts the caller, whatever others are counted by; only route and service still tell
        buckets apart. Where an API key was shown it is the key's limit.
        """
        parts = [part for part in self._parts if part in ("route", "service")]
        return "|".join(["own", *(self._part(part, exchange) for part in ("api_key", *parts))])

    def _part(self, part: str, exchange: Exchange) -> str:
        kind, _, name = part.partition(":")
        if kind in ("principal", "api_key"):
            return self._identified(kind, exchange)
        if kind == "ip":
            return "ip=" + self._network(exchange.request.peer.address)
        if kind == "header":
            return f"{part.lower()}={_value(exchange.request.headers.get(name))}"
        if kind == "claim":
            principal = exchange.principal
            return f"claim:{plain(name)}={_value(principal and principal.claims.get(name))}"
        named = exchange.route if kind == "route" else exchange.service
        return f"{kind}={_value(named and named.name)}"

    def _identified(self, kind: str, exchange: Exchange) -> str:
        """Return the API key, else the principal, else the address of an anonymous caller."""
        principal = exchange.principal
        if principal is None:
            return "ip=" + self._network(exchange.request.peer.address)
        if kind == "api_key" and principal.key_id is not None:
            return "api_key=" + plain(principal.key_id)
        return "principal=" + plain(principal.id)


def _value(value: object) -> str:
    return ABSENT if value is None else plain(str(value))
