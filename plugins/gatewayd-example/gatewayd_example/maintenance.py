"""Take routes out of service for a while, with an answer that clients understand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gatewayd import Filter, FilterConfig, Network, Networks, Reject, parse_address

if TYPE_CHECKING:
    from gatewayd import Exchange, Forward, Gateway, Peer, Response


class MaintenanceConfig(FilterConfig):
    """Settings of `maintenance`."""

    active: bool = False
    """Whether requests are refused."""
    retry_after: int = Field(default=300, ge=1, le=604800)
    """Seconds after which clients are told to try again (RFC 9110 section 10.2.3); a week at most.
    Five minutes suit a planned restart."""
    detail: str = Field(default="This service is under maintenance.", max_length=200)
    """Sentence for the caller."""
    allow: tuple[Network, ...] = ()
    """Networks of operators, whose requests go on."""


class Maintenance(Filter[MaintenanceConfig]):
    """Answer 503 while a route is under maintenance."""

    name = "maintenance"
    Config = MaintenanceConfig

    def __init__(self, config: MaintenanceConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._allow = Networks(config.allow)
        self._headers = [("Retry-After", str(config.retry_after))]

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 503 ``maintenance``.

        """
        if self.config.active and not self._is_operator(exchange.request.peer):
            raise Reject(503, "maintenance", self.config.detail, self._headers)
        return await forward(exchange)

    def _is_operator(self, peer: Peer) -> bool:
        return bool(self._allow) and parse_address(peer.address) in self._allow
