"""Allow or deny clients by network."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gatewayd import Filter, FilterConfig, Network, Networks, Reject, parse_address

if TYPE_CHECKING:
    from collections.abc import Awaitable

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


class IpFilter(Filter[IpFilterConfig]):
    """Refuse clients whose address is denied, or not among those allowed."""

    name = "ip_filter"
    Config = IpFilterConfig

    def __init__(self, config: IpFilterConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._everybody = not config.allow and not config.deny
        self._allow = Networks(config.allow)
        self._deny = Networks(config.deny)
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
            address = parse_address(text)
        except ValueError:
            return False  # what cannot be judged does not pass, such as the peer of a Unix socket
        if address in self._deny:
            return False
        return not self.config.allow or address in self._allow
