"""The line of one exchange as JSON.

Names are those of OpenTelemetry's semantic conventions for HTTP; what they have no name for begins
with ``gatewayd.``.
"""

from __future__ import annotations

import time
from math import floor
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from msgspec import UNSET, Struct, UnsetType, defstruct, field
from msgspec.json import Encoder

from gatewayd import Timestamps, encodable
from gatewayd_filters.access_log.redaction import LONGEST, REDACTED, shortened
from gatewayd_filters.access_log.shown import CLIENT_LEFT, VERSIONS, Shown, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gatewayd import Exchange, Headers
    from gatewayd_filters.access_log.config import AccessLogConfig

# Fields that are listed: attributes of a line, with the name in lower case and the member.
_Fields: TypeAlias = dict[str, tuple[bytes, Any]]

# What members hold; those that are not set are left out.
_Text: TypeAlias = str | UnsetType
_Whole: TypeAlias = int | UnsetType
_Seconds: TypeAlias = float | UnsetType

_encode_lines = Encoder().encode_lines


def _member(name: str) -> Any:
    """Return a member of a line by its name in JSON."""
    return field(default=UNSET, name=name)


class _Line(Struct, gc=False):
    """The members of a line.

    A struct, as it is made and encoded in half the time that a dict takes.
    """

    timestamp: str
    method: _Text = _member("http.request.method")
    scheme: _Text = _member("url.scheme")
    host: _Text = _member("server.address")
    path: _Text = _member("url.path")
    version: _Text = _member("network.protocol.version")
    client: _Text = _member("client.address")
    status: _Whole = _member("http.response.status_code")
    sent: _Whole = _member("http.response.body.size")
    seconds: _Seconds = _member("http.server.request.duration")
    request_id: _Text = _member("gatewayd.request.id")
    route_path: _Text = _member("http.route")
    route: _Text = _member("gatewayd.route")
    service: _Text = _member("gatewayd.service")
    instance: _Text = _member("gatewayd.instance")
    attempts: _Whole = _member("gatewayd.attempts")
    upstream_seconds: _Seconds = _member("gatewayd.upstream.duration")
    trace_id: _Text = _member("trace_id")
    span_id: _Text = _member("span_id")
    user: _Text = _member("enduser.id")
    agent: _Text = _member("user_agent.original")
    query: _Text = _member("url.query")
    received: _Whole = _member("http.request.body.size")
    error: _Text = _member("error.type")


class JsonLines:
    """Writes lines as JSON.

    Args:
        config: The filter's settings.
        clock: The clock of ``Exchange.received_at``.

    """

    def __init__(self, config: AccessLogConfig, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._timestamps = Timestamps()
        self._shown = Shown(config)
        self._request = _fields("request", config.request_headers)
        self._response = _fields("response", config.response_headers)
        self._make = _Line  # or a class of more members
        listed = {**self._request, **self._response}
        self._lists_fields = bool(listed)
        if listed:
            members = [(name, _Text, member) for name, (_, member) in listed.items()]
            made = defstruct("_LineWithFields", members, bases=(_Line,), gc=False)
            self._make = cast("type[_Line]", made)

    def lines(self, exchanges: Sequence[Exchange]) -> bytes:
        """Return the lines of exchanges that have ended, each with its newline."""
        lines = self._make_lines(exchanges)
        encoded = _encode(lines)
        if _has_long_line(encoded):
            _change_texts(lines, shortened)
            encoded = _encode(lines)
        return encoded

    def _make_lines(self, exchanges: Sequence[Exchange]) -> list[_Line]:
        offset = time.time() - self._clock()
        make, shows_agent = self._make, self._shown.agent
        timestamp, until = "", float("-inf")  # when a millisecond ends; they ended in order
        lines = []
        # One loop and no call for each line, and all members in their order: by name, or set one by
        # one later, they take twice the time. Durations are cut to microseconds; to round() them
        # takes twice the time as well.
        for exchange in exchanges:
            request, response, attempts = exchange.request, exchange.response, exchange.attempts
            peer, ended_at = request.peer, exchange.ended_at
            route, service = exchange.route, exchange.service
            instance, trace = exchange.instance, exchange.trace
            user, agent = exchange.principal, request.headers.index.get(b"user-agent")
            if ended_at >= until:
                milliseconds = floor((offset + ended_at) * 1000)
                timestamp = self._timestamps.of(milliseconds)
                until = (milliseconds + 1) / 1000 - offset
            line = make(
                timestamp,
                request.method,
                peer.scheme,
                request.host,
                request.path,
                VERSIONS[request.version[1]],
                peer.address,
                CLIENT_LEFT if response is None else response.status,
                exchange.sent,
                floor((ended_at - exchange.received_at) * 1e6) / 1e6,
                exchange.id,
                UNSET if route is None else route.pattern.text,
                UNSET if route is None else route.name,
                UNSET if service is None else service.name,
                UNSET if instance is None or not attempts else instance.url,
                attempts or UNSET,
                floor(exchange.upstream_seconds * 1e6) / 1e6 if attempts else UNSET,
                UNSET if trace is None else trace.trace_id,
                UNSET if trace is None else trace.span_id,
                UNSET if user is None else user.id,
            )
            if agent is not None:
                line.agent = agent.decode("latin-1") if shows_agent else REDACTED
            if (
                self._lists_fields
                or request.query is not None
                or request.body
                or exchange.refusal is not None
                or exchange.error is not None
            ):
                self._add_more(line, exchange)
            lines.append(line)
        return lines

    def _add_more(self, line: _Line, exchange: Exchange) -> None:
        """Add what few lines have."""
        request, response = exchange.request, exchange.response
        if request.query is not None:
            line.query = self._shown.query(request.query)
        if request.body:
            size = len(request.body) if isinstance(request.body, bytes) else request.body.length
            if size is not None:
                line.received = size
        why = reason(exchange)
        if why is not None:
            line.error = why
        self._add_fields(line, self._request, request.headers)
        if response is not None:
            self._add_fields(line, self._response, response.headers)

    def _add_fields(self, line: _Line, wanted: _Fields, headers: Headers) -> None:
        for name, (key, _) in wanted.items():
            value = self._shown.field(key, headers.value(key))
            if value is not None:
                setattr(line, name, value)


def _encode(lines: list[_Line]) -> bytes:
    try:
        return _encode_lines(lines)
    except UnicodeEncodeError:  # a lone surrogate, which a token may hold
        _change_texts(lines, encodable)
        return _encode_lines(lines)


def _has_long_line(encoded: bytes) -> bool:
    """Whether a line is long enough to have a text that is too long; hardly any is.

    It looks from line end to line end as far apart as they may be, which takes half of asking the
    texts of each line that clients choose.
    """
    start = 0
    while len(encoded) - start > LONGEST:
        start = encoded.rfind(b"\n", start, start + LONGEST + 1) + 1
        if not start:
            return True
    return False


def _change_texts(lines: list[_Line], change: Callable[[str], str]) -> None:
    for line in lines:
        for name in line.__struct_fields__:
            value = getattr(line, name)
            if isinstance(value, str):
                setattr(line, name, change(value))


def _fields(message: str, names: Iterable[str]) -> _Fields:
    keys = dict.fromkeys(name.lower() for name in names)
    return {
        f"{message}_{number}": (key.encode(), _member(f"http.{message}.header.{key}"))
        for number, key in enumerate(keys)
    }
