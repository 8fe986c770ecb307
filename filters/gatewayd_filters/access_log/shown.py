"""What both forms of a line show, and what they must not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd_filters.access_log.config import SECRET_FIELDS, SECRET_PARAMETERS
from gatewayd_filters.access_log.redaction import REDACTED, Redaction

if TYPE_CHECKING:
    from gatewayd import Exchange
    from gatewayd_filters.access_log.config import AccessLogConfig

CLIENT_LEFT = 499
"""What stands for the status where the client has left before there was one, as in nginx."""

# What logs in by OAuth or OpenID Connect is redirected with a code or a token.
_URLS = frozenset({b"referer", b"location", b"content-location"})

VERSIONS = ("1.0", "1.1")
"""Names of the protocol's versions, by their minor numbers."""


class Shown:
    """What of header fields and queries is shown, and how.

    Args:
        config: The filter's settings.

    Attributes:
        agent: Whether User-Agent is shown.

    """

    def __init__(self, config: AccessLogConfig) -> None:
        redaction = Redaction((*SECRET_PARAMETERS, *config.redact_query))
        self.query = redaction.query
        self._url = redaction.url
        self._secret = frozenset(
            name.lower().encode() for name in (*SECRET_FIELDS, *config.redact_headers)
        )
        self.agent = b"user-agent" not in self._secret

    def field(self, key: bytes, value: bytes | None) -> str | None:
        """Return the value of a field as it is shown; ``key`` is its name in lower case."""
        if value is None:
            return None
        if key in self._secret:
            return REDACTED
        text = value.decode("latin-1")
        return self._url(text) if key in _URLS else text


def reason(exchange: Exchange) -> str | None:
    """Return what kept an exchange from its usual end, ``None`` for nothing."""
    if exchange.refusal is not None:
        return exchange.refusal.code
    return None if exchange.error is None else type(exchange.error).__qualname__
