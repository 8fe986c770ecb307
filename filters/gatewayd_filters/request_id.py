"""Give every exchange an id that client, logs and upstream share.

The server makes an id for each exchange. A client's own id replaces it only where the client is
believed, and only if it is harmless: whoever chooses ids chooses what stands in the logs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator

from gatewayd import Filter, FilterConfig, HeaderName, Headers

if TYPE_CHECKING:
    from gatewayd import Exchange, Forward, Gateway, Peer, Response

# Covers UUIDs, ULIDs and the trace headers of AWS; nothing that could end a log line, a quoted
# string or a shell word, and no slash, for those who name files after ids.
_ACCEPTABLE = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._:=+-]{0,127}")


def _settable(name: str) -> str:
    Headers.of([(name, "")])  # raises for fields of framing and of this hop
    return name


class RequestIdConfig(FilterConfig):
    """Settings of `request_id`."""

    header: Annotated[HeaderName, AfterValidator(_settable)] = "X-Request-Id"
    """Field that carries the id in both directions; Envoy's and Heroku's name for it."""
    trust: Literal["trusted_peers", "never", "always"] = "trusted_peers"
    """Whose id is taken over: that of peers in `server.trusted_proxies`, nobody's, or everybody's.
    An id that is longer than 128 characters, or holds others than letters, digits and `._:=+-`, is
    never taken over; a new one replaces it."""
    response: bool = True
    """Whether the response carries the id. Refusals carry it as well."""


class RequestId(Filter[RequestIdConfig]):
    """Settle the exchange's id, and put it on the upstream request and on the response."""

    name = "request_id"
    Config = RequestIdConfig
    catches_errors = True

    def __init__(self, config: RequestIdConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._header = config.header
        self._key = config.header.lower().encode()
        self._begin = config.header.encode() + b": "
        self._responds = config.response
        self._trust = config.trust

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`."""
        request = exchange.request
        headers = request.headers
        key = self._key
        sent = headers.index.get(key)
        if sent is not None:
            if self._believes(request.peer) and _ACCEPTABLE.fullmatch(sent):
                exchange.id = sent.decode()
            headers.remove(self._header)
        value = exchange.id.encode()
        line = self._begin + value + b"\r\n"
        headers.put(key, value, line)
        response = await forward(exchange)
        if self._responds:
            headers = response.headers
            if key in headers.index:
                headers.remove(self._header)
            headers.put(key, value, line)
        return response

    def _believes(self, peer: Peer) -> bool:
        return self._trust == "always" or (self._trust == "trusted_peers" and peer.trusted)
