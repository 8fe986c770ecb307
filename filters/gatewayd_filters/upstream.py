"""Sends the request to the chosen instance; the last filter of the pipeline.

What it adds to a request: ``X-Forwarded-For``, ``-Proto`` and ``-Host`` and ``X-Real-IP`` (what
Kong and Traefik send as well) or ``Forwarded``, and ``Via`` (RFC 9110 section 7.6.3). What
untrusted clients had put into these fields was removed on entry; what a trusted proxy said is
continued.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from gatewayd import (
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    HeaderName,
    Headers,
    Response,
    Seconds,
    Timeouts,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatewayd import Gateway, Instance, Peer, Request, Trace

_X_FORWARDED = frozenset({
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip",
})  # fmt: skip

# Of the fields that are replaced, those that continue what came with the request.
_LISTED = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"forwarded", b"via"})
_UNLIMITED = float("inf")
# Bytes of forwarding fields whose continuation is remembered: a client may send 32 kB of Via, and
# there are 4096 places. A chain of five proxies takes half of this.
_SHORT = 256


class UpstreamConfig(FilterConfig):
    """Settings of the `upstream` filter."""

    first_byte_timeout: Seconds = 60.0
    """Time from the request's last byte to the response head; above it: 504. nginx's default."""
    between_bytes_timeout: Seconds = 60.0
    """Longest pause between two reads of a response body. nginx's default."""
    write_timeout: Seconds = 60.0
    """Longest time in which the instance takes nothing of a request body. nginx's default."""
    expect_timeout: Seconds = 1.0
    """How long to wait for the instance's `100 Continue` before the body is sent all the same.
    curl's default."""
    tunnel_idle_timeout: Seconds = 3600.0
    """How long an upgraded connection may carry nothing."""
    host: Literal["client", "instance"] = "client"
    """Host field to send: the client's, or the instance's own. A route's `rewrite.host` wins."""
    forwarded_headers: Literal["x_forwarded", "forwarded", "both", "off"] = "x_forwarded"
    """How to tell the instance of the client: `X-Forwarded-For`, `-Proto`, `-Host` and `X-Real-IP`;
    `Forwarded` (RFC 7239); both; or not at all."""
    via: str = Field("gatewayd", pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]*$")
    """Name to add to `Via`; empty for none."""
    deadline_header: HeaderName | None = None
    """Field that tells the instance how many milliseconds are left for the response, by the route's
    `timeout` and the per-try time-out; not sent where neither is set. Envoy calls it
    `X-Envoy-Expected-Rq-Timeout-Ms`. The client's own field of this name is not passed on."""
    upgrades: tuple[str, ...] = ("websocket",)
    """Protocols that a client may switch to. An upgrade to another one is ignored, as RFC 9110
    section 7.8 permits; `h2c` is how requests are smuggled past filters."""

    @field_validator("deadline_header")
    @classmethod
    def _frames_no_message(cls, name: str | None) -> str | None:
        if name is not None:
            Headers.of([(name, "0")])  # raises for a field that the connection needs
            if name.lower() == "host":
                raise ValueError("Host says where the request goes; name another field")
        return name


class Upstream(Filter[UpstreamConfig]):
    """Sends the request to the chosen instance."""

    name = "upstream"
    Config = UpstreamConfig
    requires = frozenset({"instance", "route"})
    terminal = True

    def __init__(self, config: UpstreamConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._timeouts = Timeouts(
            first_byte=config.first_byte_timeout,
            between_bytes=config.between_bytes_timeout,
            write=config.write_timeout,
            tunnel_idle=config.tunnel_idle_timeout,
            expect=config.expect_timeout,
        )
        self._upgrades = frozenset(name.lower() for name in config.upgrades)
        self._clock = gateway.clock
        self._own_host = config.host == "instance"
        # The same for all requests of a client to a host; bounded, see also _SHORT.
        self._lines = lru_cache(maxsize=4096)(self._write_lines)
        self._replaced = frozenset[bytes]()
        if config.forwarded_headers in ("x_forwarded", "both"):
            self._replaced |= _X_FORWARDED
        if config.forwarded_headers in ("forwarded", "both"):
            self._replaced |= {b"forwarded"}
        if config.via:
            self._replaced |= {b"via"}
        self._continued = sorted(self._replaced & _LISTED)
        self._deadline_header = config.deadline_header
        if config.deadline_header is not None:
            self._replaced |= {config.deadline_header.lower().encode("ascii")}

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:  # noqa: ARG002
        """Send the request; there is nothing to forward to."""
        instance, route = exchange.instance, exchange.route
        assert instance is not None and route is not None  # noqa: PT018, S101  # required
        request = exchange.request
        # Counted down once, however many attempts there are.
        if request.method == "OPTIONS" and not (exchange.attempts or _goes_further(request)):
            return _empty()
        path = request.path
        host = instance.authority if self._own_host else None
        if route.rewrite is not None:
            path = route.rewritten(path, exchange.params)
            host = route.rewrite.host or host
        headers, lines = self._fields(request, instance, host)
        trace = exchange.trace
        if trace is None:
            return self._send(exchange, instance, path, headers, lines)
        if not trace.sampled:
            return self._send(exchange, instance, path, headers, lines + trace.added)
        return self._traced(exchange, instance, path, headers, lines, trace)

    async def _traced(
        self,
        exchange: Exchange,
        instance: Instance,
        path: str,
        headers: Headers,
        lines: bytes,
        trace: Trace,
    ) -> Response:
        with trace.attempt(instance) as attempt:
            headers = headers.copy()  # two attempts may run side by side
            headers.set("traceparent", attempt.traceparent.decode("ascii"))
            response = await self._send(exchange, instance, path, headers, lines)
            attempt.status = response.status
            return response

    async def _send(
        self, exchange: Exchange, instance: Instance, path: str, headers: Headers, lines: bytes
    ) -> Response:
        request = exchange.request
        started = self._clock()
        timeouts, answer_by, limit = self._timeouts, None, exchange.try_timeout
        if limit is not None:
            if type(request.body) is bytes:
                answer_by = started + limit
            else:  # how long the client takes to send it says nothing of the instance
                timeouts = replace(timeouts, first_byte=min(timeouts.first_byte, limit))
        if self._deadline_header is not None:
            lines += self._deadline_line(self._deadline_header, exchange)
        exchange.attempts += 1
        try:
            response = await instance.send(
                request.method,
                path if request.query is None else f"{path}?{request.query}",
                headers,
                request.body,
                extra_fields=lines,
                timeouts=timeouts,
                deadline=exchange.deadline,
                answer_by=answer_by,
                received_at=exchange.received_at,
                on_interim=exchange.send_interim,
                upgrade=request.upgrade if request.upgrade in self._upgrades else None,
                expects_continue=request.expects_continue,
            )
        finally:
            exchange.upstream_seconds = self._clock() - started
        if type(response.body) is not bytes or response.tunnel is not None:
            exchange.release_at_end(response)
        return response

    def _fields(
        self, request: Request, instance: Instance, host: str | None
    ) -> tuple[Headers, bytes]:
        """Return the fields to send, and the lines that the gateway adds to them."""
        headers = request.headers
        index = headers.index
        if host is None and b"host" not in index:
            host = instance.authority
        if host is None and self._replaced.isdisjoint(index):
            return headers, self._lines(request.peer, request.authority, request.version)
        before = tuple((name, index[name]) for name in self._continued if name in index)
        short = sum(len(value) for _, value in before) <= _SHORT
        write = self._lines if short else self._write_lines
        lines = write(request.peer, request.authority, request.version, before)
        headers = headers.copy()  # another attempt starts from the same request
        headers.remove(*(name.decode("ascii") for name in self._replaced))
        if host is not None:
            headers.set("Host", host)
        return headers, lines

    def _deadline_line(self, name: str, exchange: Exchange) -> bytes:
        """Say how much time is left, if it is limited."""
        left = _UNLIMITED if exchange.try_timeout is None else exchange.try_timeout
        if exchange.deadline is not None:
            left = min(left, exchange.deadline - self.gateway.clock())
        return b"" if left == _UNLIMITED else f"{name}: {max(0, int(left * 1000))}\r\n".encode()

    def _write_lines(
        self,
        peer: Peer,
        authority: str,
        version: tuple[int, int],
        before: tuple[tuple[bytes, bytes], ...] = (),
    ) -> bytes:
        """Say who the client is, and that the gateway stands in between.

        What is in ``before`` came with the request. Forwarding fields that are still here come from
        a trusted peer; it told of the client, and is itself the next one in the list.
        """
        told = {name: value.decode("latin-1") for name, value in before}
        address, scheme = peer.socket_address, peer.scheme
        lines = ""
        if b"x-forwarded-for" in self._replaced:
            lines = (
                f"X-Forwarded-For: {_append(told.get(b'x-forwarded-for'), address)}\r\n"
                f"X-Forwarded-Proto: {scheme}\r\n"
                f"X-Forwarded-Host: {told.get(b'x-forwarded-host', authority)}\r\n"
                f"X-Real-IP: {peer.address}\r\n"
            )
        if b"forwarded" in self._replaced:
            node = f'"[{address}]"' if ":" in address else address
            hop = f'for={node};host="{authority}";proto={scheme}'
            lines += f"Forwarded: {_append(told.get(b'forwarded'), hop)}\r\n"
        if b"via" in self._replaced:
            hop = f"{version[0]}.{version[1]} {self.config.via}"
            lines += f"Via: {_append(told.get(b'via'), hop)}\r\n"
        return lines.encode("latin-1")


async def _empty() -> Response:
    return Response(204)


def _goes_further(request: Request) -> bool:
    """Count down Max-Forwards of OPTIONS (RFC 9110 section 7.6.2); return whether it may go on."""
    left = request.headers.get("Max-Forwards")
    if left is None or not left.isdecimal():
        return True
    request.headers.set("Max-Forwards", str(max(0, int(left[:9]) - 1)))
    return int(left[:9]) > 0


def _append(before: str | None, member: str) -> str:
    """Add a member to a list that may be there already."""
    return member if before is None else f"{before}, {member}"
