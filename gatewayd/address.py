"""Addresses of clients, and sets of networks.

A socket for both families shows an IPv4 client as ``::ffff:192.0.2.1``. Whoever judges addresses
has to see the IPv4 address in that, or a rule about ``192.0.2.0/24`` is without effect.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Return an address; one that is mapped into IPv6 is the IPv4 address that it stands for.

    Raises:
        ValueError: it is none, such as the peer of a Unix socket.

    """
    return _unmapped(ip_address(text))


class Networks:
    """A set of networks; looking up costs one set lookup per distinct prefix length.

    Args:
        networks: The networks; one that is mapped into IPv6 is that of IPv4 addresses.

    """

    __slots__ = ("_by_prefix",)

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._by_prefix: dict[tuple[int, int], set[int]] = {}
        for network in map(_unmapped_network, networks):
            shift = network.max_prefixlen - network.prefixlen
            prefixes = self._by_prefix.setdefault((network.version, shift), set())
            prefixes.add(int(network.network_address) >> shift)

    def __bool__(self) -> bool:
        return bool(self._by_prefix)

    def __contains__(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether an address, as :func:`parse_address` returns it, is in one of them."""
        number = int(address)
        return any(
            version == address.version and number >> shift in prefixes
            for (version, shift), prefixes in self._by_prefix.items()
        )


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _unmapped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    address = _unmapped(network.network_address)
    if address.version == network.version or network.prefixlen < 96:
        return network
    return ip_network((int(address), network.prefixlen - 96))
