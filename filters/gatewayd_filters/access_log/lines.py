"""The line of one exchange, as JSON or in the combined format of Apache and nginx.

Names are those of OpenTelemetry's semantic conventions for HTTP; what they have no name for begins
with ``gatewayd.``.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import orjson

from gatewayd import INSTANCE, PRINCIPAL, ROUTE, SERVICE, TRACE, Timestamps
from gatewayd_filters.access_log.config import SECRET_FIELDS, SECRET_PARAMETERS
from gatewayd_filters.access_log.redaction import LONGEST, REDACTED, Redaction, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatewayd import Exchange, Headers
    from gatewayd_filters.access_log.config import AccessLogConfig

CLIENT_LEFT = 499
"""What stands for the status where the client has left before there was one, as in nginx."""

_VERSIONS = {(1, 1): "1.1", (1, 0): "1.0"}
# What would end the line, or the quoted string in it.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f"\\]|[^\x00-\xff]')


class JsonLines:
    """Writes lines as JSON.

    Args:
        config: The filter's settings.
        clock: The clock of ``Exchange.received_at``.

    """

    def __init__(self, config: AccessLogConfig, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._timestamps = Timestamps()
        self._redact = Redaction((*SECRET_PARAMETERS, *config.redact_query)).query
        secret = {name.lower() for name in (*SECRET_FIELDS, *config.redact_headers)}
        self._request = _fields("http.request.header", config.request_headers, secret)
        self._response = _fields("http.response.header", config.response_headers, secret)

    def line(self, exchange: Exchange, error: BaseException | None) -> bytes:
        """Return the line of an exchange that has ended."""
        request, response = exchange.request, exchange.response
        peer, path = request.peer, request.path
        line: dict[str, Any] = {
            "timestamp": self._timestamps.of(time.time()),
            "http.request.method": request.method,
            "url.path": path if len(path) <= LONGEST else shortened(path),
            "url.scheme": peer.scheme,
            "server.address": request.host,
            "network.protocol.version": _VERSIONS[request.version],
            "client.address": peer.address,
            "http.response.status_code": CLIENT_LEFT if response is None else response.status,
            "http.response.body.size": exchange.sent,
            "http.server.request.duration": round(self._clock() - exchange.received_at, 6),
            "gatewayd.request.id": exchange.id,
        }
        agent = request.headers.index.get(b"user-agent")
        if agent is not None:
            line["user_agent.original"] = shortened(agent.decode("latin-1"))
        if request.query is not None:
            line["url.query"] = shortened(self._redact(request.query))
        body = request.body
        size = len(body) if type(body) is bytes else getattr(body, "length", None)
        if size:
            line["http.request.body.size"] = size
        _add_known(line, exchange)
        if exchange.refusal is not None:
            line["error.type"] = exchange.refusal.code
        elif error is not None:
            line["error.type"] = type(error).__qualname__
        if self._request:
            _add(line, self._request, request.headers)
        if self._response and response is not None:
            _add(line, self._response, response.headers)
        return _encoded(line)


def _add_known(line: dict[str, Any], exchange: Exchange) -> None:
    """Add what filters have found out."""
    if ROUTE in exchange:
        route = exchange[ROUTE]
        line["http.route"] = route.config.path
        line["gatewayd.route"] = route.name
    if SERVICE in exchange:
        line["gatewayd.service"] = exchange[SERVICE].name
    if exchange.attempts:
        line["gatewayd.instance"] = exchange[INSTANCE].url
        line["gatewayd.attempts"] = exchange.attempts
        line["gatewayd.upstream.duration"] = round(exchange.upstream_seconds, 6)
    if PRINCIPAL in exchange:
        line["enduser.id"] = exchange[PRINCIPAL].id
    if TRACE in exchange:
        trace = exchange[TRACE]
        line["trace_id"], line["span_id"] = trace.trace_id, trace.span_id


def _fields(prefix: str, names: Iterable[str], secret: set[str]) -> list[tuple[bytes, str, bool]]:
    return [
        (name.lower().encode(), f"{prefix}.{name.lower()}", name.lower() in secret)
        for name in names
    ]


def _add(line: dict[str, Any], wanted: list[tuple[bytes, str, bool]], headers: Headers) -> None:
    index = headers.index
    for key, name, secret in wanted:
        value = index.get(key)
        if value is not None:
            line[name] = REDACTED if secret else shortened(value.decode("latin-1"))


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, which a token may hold
        clean = {
            key: value.encode("utf-8", "backslashreplace").decode()
            if isinstance(value, str)
            else value
            for key, value in line.items()
        }
        return orjson.dumps(clean, option=orjson.OPT_APPEND_NEWLINE)


class TextLines:
    """Writes lines in the combined format.

    Args:
        config: The filter's settings.
        clock: The clock of ``Exchange.received_at``.

    """

    def __init__(self, config: AccessLogConfig, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._redact = Redaction((*SECRET_PARAMETERS, *config.redact_query)).query
        self._second = 0
        self._time = ""

    def line(self, exchange: Exchange, error: BaseException | None) -> bytes:
        """Return the line of an exchange that has ended."""
        request, response = exchange.request, exchange.response
        principal, route = exchange.get(PRINCIPAL), exchange.get(ROUTE)
        path = request.path
        if request.query is not None:
            path = f"{path}?{self._redact(request.query)}"
        version = _VERSIONS[request.version]
        index = request.headers.index
        status = CLIENT_LEFT if response is None else response.status
        seconds = self._clock() - exchange.received_at
        return (
            f"{request.peer.address} - {_word(None if principal is None else principal.id)}"
            f' [{self._now()}] "{request.method} {_safe(path)} HTTP/{version}"'
            f' {status} {exchange.sent} "{_field(index.get(b"referer"))}"'
            f' "{_field(index.get(b"user-agent"))}" {exchange.id}'
            f" {_word(None if route is None else route.name)} {seconds:.6f}"
            f" {_word(_reason(exchange, error))}\n"
        ).encode("ascii", "backslashreplace")

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._time = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))
            self._second = second
        return self._time


def _reason(exchange: Exchange, error: BaseException | None) -> str | None:
    if exchange.refusal is not None:
        return exchange.refusal.code
    return None if error is None else type(error).__qualname__


def _field(value: bytes | None) -> str:
    return "-" if value is None else _safe(value.decode("latin-1"))


def _word(text: str | None) -> str:
    return _safe(text).replace(" ", "\\x20") if text else "-"


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", shortened(text))
