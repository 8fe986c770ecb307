"""The line of one exchange, as JSON or in the combined format of Apache and nginx.

Names are those of OpenTelemetry's semantic conventions for HTTP; what they have no name for begins
with ``gatewayd.``.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import orjson

from gatewayd import INSTANCE, PRINCIPAL, ROUTE, SERVICE, TRACE, Timestamps
from gatewayd_filters.access_log.config import SECRET_FIELDS, SECRET_PARAMETERS
from gatewayd_filters.access_log.redaction import LONGEST, REDACTED, Redaction, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatewayd import (
        Body,
        Exchange,
        Headers,
        Instance,
        Peer,
        Principal,
        Route,
        Service,
    )
    from gatewayd_filters.access_log.config import AccessLogConfig

CLIENT_LEFT = 499
"""What stands for the status where the client has left before there was one, as in nginx."""

_VERSIONS = {(1, 1): "1.1", (1, 0): "1.0"}
_REMEMBERED = 16_384  # as many as there may be routes; 10 MB at worst
# What stands for itself in a string of JSON, and is not too long.
_PLAIN = re.compile(rf"[ !#-\[\]-~]{{0,{LONGEST}}}").fullmatch
_QUOTED = '"%s"'
_ATTEMPTS = ',"gatewayd.attempts":%d,"gatewayd.upstream.duration":%.6f'
_TRACE = ',"trace_id":"%s","span_id":"%s"'
# What would end the line, or the quoted string in it.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f"\\]|[^\x00-\xff]')


class Shown:
    """What of header fields and queries is shown, and how.

    Args:
        config: The filter's settings.

    """

    def __init__(self, config: AccessLogConfig) -> None:
        redaction = Redaction((*SECRET_PARAMETERS, *config.redact_query))
        self.query = redaction.query
        self._url = redaction.url
        self._secret = frozenset(
            name.lower().encode() for name in (*SECRET_FIELDS, *config.redact_headers)
        )

    def field(self, key: bytes, value: bytes | None) -> str | None:
        """Return the value of a field as it is shown; ``key`` is its name in lower case."""
        if value is None:
            return None
        if key in self._secret:
            return REDACTED
        text = value.decode("latin-1")
        return self._url(text) if key == b"referer" else text


class JsonLines:
    """Writes lines as JSON.

    Most of a line is the same for all requests of one client to one route, so that part is encoded
    once and kept; what differs is written around it. (Encoding a whole line takes 3 us more.)

    Args:
        config: The filter's settings.
        clock: The clock of ``Exchange.received_at``.

    """

    def __init__(self, config: AccessLogConfig, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._timestamps = Timestamps()
        self._shown = shown = Shown(config)
        self._redact = shown.query
        self._request = _fields("http.request.header", config.request_headers)
        self._response = _fields("http.response.header", config.response_headers)
        self._same: dict[tuple[object, ...], str] = {}
        self._paths: dict[str, str] = {}

    def lines(self, exchanges: Iterable[Exchange]) -> list[bytes]:
        """Return the lines of exchanges that have ended."""
        offset = time.time() - self._clock()
        return [self._line(exchange, offset) for exchange in exchanges]

    def _line(self, exchange: Exchange, offset: float) -> bytes:
        request, response = exchange.request, exchange.response
        path, request_id, ended_at = request.path, exchange.id, exchange.ended_at
        attempts, trace = exchange.attempts, exchange.get(TRACE)
        # One formatted string for what nearly all lines have; putting it together takes longer.
        return (
            f'{{"timestamp":"{self._timestamps.of(offset + ended_at)}",{self._same_part(exchange)}'
            f'"url.path":{self._paths.get(path) or self._quote_path(path)}'
            f',"http.response.status_code":{CLIENT_LEFT if response is None else response.status}'
            f',"http.response.body.size":{exchange.sent}'
            f',"http.server.request.duration":{ended_at - exchange.received_at:.6f}'
            f',"gatewayd.request.id":'
            f"{_quoted(request_id) if not request_id.isalnum() else _QUOTED % request_id}"
            f"{_ATTEMPTS % (attempts, exchange.upstream_seconds) if attempts else ''}"
            f"{'' if trace is None else _TRACE % (trace.trace_id, trace.span_id)}"
            f"{self._rest(exchange)}}}\n"
        ).encode()

    def _rest(self, exchange: Exchange) -> str:
        """Return the members that few lines have."""
        request, response, text = exchange.request, exchange.response, ""
        if request.query is not None:
            text += f',"url.query":{_quoted(self._redact(request.query))}'
        if request.body:
            text += _size_of(request.body)
        if exchange.refusal is not None:
            text += f',"error.type":{_quoted(exchange.refusal.code)}'
        elif exchange.error is not None:
            text += f',"error.type":{_quoted(type(exchange.error).__qualname__)}'
        if self._request:
            text += self._named(self._request, request.headers)
        if self._response and response is not None:
            text += self._named(self._response, response.headers)
        return text

    def _quote_path(self, path: str) -> str:
        """Return a path as a string of JSON, and remember it."""
        if len(self._paths) >= _REMEMBERED:
            self._paths.clear()
        quoted = self._paths[path] = _quoted(path)
        return quoted

    def _same_part(self, exchange: Exchange) -> str:
        # The objects themselves, which outlive the exchange and are compared by identity.
        request, get = exchange.request, exchange.get
        key = (
            request.method,
            request.host,
            request.version,
            request.peer,
            request.headers.value(b"user-agent"),
            get(ROUTE),
            get(SERVICE),
            get(INSTANCE) if exchange.attempts else None,
            get(PRINCIPAL),
        )
        known = self._same.get(key)
        if known is None:
            if len(self._same) >= _REMEMBERED:
                self._same.clear()
            known = self._same[key] = self._encode_same(*key)
        return known

    def _encode_same(
        self,
        method: str,
        host: str,
        version: tuple[int, int],
        peer: Peer,
        agent: bytes | None,
        route: Route | None,
        service: Service | None,
        instance: Instance | None,
        principal: Principal | None,
    ) -> str:
        """Return the members that many requests have in common, each with a comma behind it."""
        members: dict[str, str | None] = {
            "http.request.method": method,
            "url.scheme": peer.scheme,
            "server.address": host,
            "network.protocol.version": _VERSIONS[version],
            "client.address": peer.address,
            "user_agent.original": self._shown.field(b"user-agent", agent),
            "http.route": None if route is None else route.config.path,
            "gatewayd.route": None if route is None else route.name,
            "gatewayd.service": None if service is None else service.name,
            "gatewayd.instance": None if instance is None else instance.url,
            "enduser.id": None if principal is None else principal.id,
        }
        return "".join(
            f'"{name}":{_quoted(value)},' for name, value in members.items() if value is not None
        )

    def _named(self, wanted: list[tuple[bytes, str]], headers: Headers) -> str:
        text = ""
        for key, name in wanted:
            value = self._shown.field(key, headers.value(key))
            if value is not None:
                text += f',"{name}":{_quoted(value)}'
        return text


def _quoted(text: str) -> str:
    """Return text as a string of JSON, of bounded length."""
    if _PLAIN(text):
        return f'"{text}"'
    try:
        return orjson.dumps(shortened(text)).decode()
    except TypeError:  # a lone surrogate, which a token may hold
        return orjson.dumps(shortened(text).encode("utf-8", "backslashreplace").decode()).decode()


def _size_of(body: bytes | Body) -> str:
    size = len(body) if isinstance(body, bytes) else body.length
    return "" if size is None else f',"http.request.body.size":{size}'


def _fields(prefix: str, names: Iterable[str]) -> list[tuple[bytes, str]]:
    return [(name.lower().encode(), f"{prefix}.{name.lower()}") for name in names]


class TextLines:
    """Writes lines in the combined format.

    Args:
        config: The filter's settings.
        clock: The clock of ``Exchange.received_at``.

    """

    def __init__(self, config: AccessLogConfig, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shown = shown = Shown(config)
        self._redact = shown.query
        self._second = 0
        self._time = ""

    def lines(self, exchanges: Iterable[Exchange]) -> list[bytes]:
        """Return the lines of exchanges that have ended."""
        return [self._line(exchange) for exchange in exchanges]

    def _line(self, exchange: Exchange) -> bytes:
        request, response = exchange.request, exchange.response
        principal, route = exchange.get(PRINCIPAL), exchange.get(ROUTE)
        path = request.path
        if request.query is not None:
            path = f"{path}?{self._redact(request.query)}"
        version = _VERSIONS[request.version]
        index = request.headers.index
        status = CLIENT_LEFT if response is None else response.status
        seconds = exchange.ended_at - exchange.received_at
        return (
            f"{request.peer.address} - {_word(None if principal is None else principal.id)}"
            f' [{self._now()}] "{_safe(request.method)} {_safe(path)} HTTP/{version}"'
            f' {status} {exchange.sent} "{self._field(b"referer", index)}"'
            f' "{self._field(b"user-agent", index)}" {exchange.id}'
            f" {_word(None if route is None else route.name)} {seconds:.6f}"
            f" {_word(_reason(exchange))}\n"
        ).encode("ascii", "backslashreplace")

    def _field(self, key: bytes, index: Mapping[bytes, bytes]) -> str:
        value = self._shown.field(key, index.get(key))
        return "-" if value is None else _safe(value)

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._time = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))
            self._second = second
        return self._time


def _reason(exchange: Exchange) -> str | None:
    if exchange.refusal is not None:
        return exchange.refusal.code
    return None if exchange.error is None else type(exchange.error).__qualname__


def _word(text: str | None) -> str:
    return _safe(text).replace(" ", "\\x20") if text else "-"


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", shortened(text))
