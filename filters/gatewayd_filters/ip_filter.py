"""Allow or deny clients by network."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from gatewayd import Filter, FilterConfig, Network, Reject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from gatewayd import Exchange, Forward, Gateway, Response

# Decisions remembered per filter. Bounded, as an IPv6 client has more addresses than we have
# memory; a decision costs 3 to 6 us, so that flushing them gains an attacker nothing.
_REMEMBERED = 4096


class IpFilterConfig(FilterConfig):
    """Settings of `ip_filter`.

    The address is the client's: behind a proxy that is listed in `server.trusted_proxies`, it is
    the one that the proxy reports, and nobody else can choose it.
    """

    allow: tuple[Network, ...] = ()
    """Networks that may pass; all others are refused. Where empty, everybody may pass who is not
    in `deny`."""
    deny: tuple[Network, ...] = ()
    """Networks that are refused, also where `allow` contains them."""


class _Networks:
    """A set of networks; looking up costs one set lookup per distinct prefix length."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._by_prefix: dict[tuple[int, int], set[int]] = {}
        for network in map(_unmapped_network, networks):
            shift = network.max_prefixlen - network.prefixlen
            prefixes = self._by_prefix.setdefault((network.version, shift), set())
            prefixes.add(int(network.network_address) >> shift)

    def __contains__(self, address: IPv4Address | IPv6Address) -> bool:
        number = int(address)
        return any(
            version == address.version and number >> shift in prefixes
            for (version, shift), prefixes in self._by_prefix.items()
        )


class IpFilter(Filter[IpFilterConfig]):
    """Refuse clients whose address is denied, or not among those allowed."""

    name = "ip_filter"
    Config = IpFilterConfig

    def __init__(self, config: IpFilterConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._everybody = not config.allow and not config.deny
        self._allow = _Networks(config.allow)
        self._deny = _Networks(config.deny)
        self._may_pass = lru_cache(_REMEMBERED)(self._decide)

    @property
    def does_nothing(self) -> bool:
        """Without networks everybody passes."""
        return self._everybody

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 403 ``ip_denied``.

        """
        if self._everybody or self._may_pass(exchange.request.peer.address):
            return forward(exchange)
        raise Reject(403, "ip_denied", "Requests from this address are not allowed.")

    def _decide(self, text: str) -> bool:
        try:
            address = _unmapped(ip_address(text))
        except ValueError:
            return False  # what cannot be judged does not pass, such as the peer of a Unix socket
        if address in self._deny:
            return False
        return not self.config.allow or address in self._allow


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that a dual-stack socket shows as ``::ffff:192.0.2.1``."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _unmapped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Do for networks what :func:`_unmapped` does, so that a mapped one is not without effect."""
    address = _unmapped(network.network_address)
    if address.version == network.version or network.prefixlen < 96:
        return network
    return ip_network((int(address), network.prefixlen - 96))
