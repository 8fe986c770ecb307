"""What the origin is told of the client: only what the proxy knows or a trusted peer says.

A stranger's X-Forwarded-* and identity fields must not reach the origin as the proxy's word. A peer
may append the true address to what a stranger sent, as some proxies are documented to do: the last
element then is the truth (RFC 7239 section 8.1 warns of the rest). gatewayd removes it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.conformance.case import Case
from tests.conformance.messages import chunked, request
from tests.conformance.outcome import answered, forwarded, origin_field, origin_lacks, problem
from tests.conformance.targets import TRUSTED

if TYPE_CHECKING:
    from tests.conformance.case import Check, Observation

_SOURCE = "RFC 7239 section 8.1"
_REAL = b"127.0.0.1"
_SPOOF = b"6.6.6.6"
_ADDRESS = re.compile(rb"[0-9]+(?:\.[0-9]+){3}")


def _last_is_an_address(seen: Observation) -> str | None:
    """Check that the last address is the proxy's word; Envoy tells loopback as its own address."""
    values = [request.header("X-Forwarded-For") or b"" for request in seen.complete_requests]
    last = [value.rpartition(b",")[2].strip() for value in values]
    right = last and all(_ADDRESS.fullmatch(one) and one != _SPOOF for one in last)
    return None if right else f"X-Forwarded-For at the origin: {values!r}"


def _spoofed_for(id_: str, title: str, *lines: bytes) -> Case:
    ours = forwarded(origin_field("X-Forwarded-For", _REAL))
    steps = (request(*lines),)
    return Case(f"xff-{id_}", title, _SOURCE, steps, (forwarded(_last_is_an_address),), (ours,))


def _spoofed(name: str, value: bytes, *, gatewayd_only: bool = False) -> Case:
    """Return a case of a stranger's field of which nothing may arrive."""
    return Case(
        f"spoof-{name.lower()}", f"a stranger's {name}", _SOURCE,
        (request(name.encode() + b": " + value),), (forwarded(origin_lacks(name, value)),),
        gatewayd_only=gatewayd_only,
    )  # fmt: skip


_STRANGER = (
    _spoofed_for("none", "X-Forwarded-For tells the socket's address"),
    _spoofed_for("spoofed", "a stranger's X-Forwarded-For", b"X-Forwarded-For: " + _SPOOF),
    _spoofed_for("list", "a stranger's list", b"X-Forwarded-For: 10.0.0.1, " + _SPOOF),
    _spoofed_for("lines", "a stranger's two lines", b"X-Forwarded-For: " + _SPOOF,
                 b"x-forwarded-for: 127.0.0.2"),
    _spoofed_for("empty", "an empty one", b"X-Forwarded-For:"),
    _spoofed_for("garbage", "garbage", b"X-Forwarded-For: ,;,\xff\xfe, x"),
    _spoofed("X-Forwarded-Proto", b"https"),
    _spoofed("X-Forwarded-Host", b"evil.test"),
    _spoofed("X-Real-IP", _SPOOF),
    _spoofed("Forwarded", b"for=6.6.6.6;proto=https"),
    _spoofed("X-Forwarded-Port", b"444", gatewayd_only=True),
    _spoofed("X-Forwarded-Prefix", b"/evil", gatewayd_only=True),
    _spoofed("X-Forwarded-Scheme", b"https", gatewayd_only=True),
    _spoofed("X-Forwarded-Ssl", b"on", gatewayd_only=True),
    _spoofed("X-Original-URL", b"/admin", gatewayd_only=True),
    _spoofed("X-Rewrite-URL", b"/admin", gatewayd_only=True),
    Case("proto", "X-Forwarded-Proto tells the scheme", "design", (request(),),
         (forwarded(origin_field("X-Forwarded-Proto", b"http")),)),
    Case("host", "X-Forwarded-Host tells the authority that the client used",
         "design", (request(host=b"Host: gateway.test:8080"),),
         (forwarded(origin_field("X-Forwarded-Host", b"gateway.test:8080", None)),),
         gatewayd_only=True),
    Case("request-id-stranger", "a stranger's X-Request-Id is replaced", "design",
         (request(b"X-Request-Id: evil"),), (forwarded(origin_lacks("X-Request-Id", b"evil")),),
         gatewayd_only=True),
    Case("request-id-problem", "a problem document carries the request id", "RFC 9457 section 3.2",
         (request(target=b"/none"),), (answered(404, checks=(problem("route_not_found"),)),),
         gatewayd_only=True),
)  # fmt: skip


def _trusted(id_: str, title: str, *checks: Check, lines: tuple[bytes, ...]) -> Case:
    return Case(
        f"trusted-{id_}", f"from a trusted proxy: {title}", "RFC 7239 section 7.4",
        (request(*lines),), (forwarded(*checks),), peer=TRUSTED, gatewayd_only=True,
    )  # fmt: skip


_TRUSTED_PEER = TRUSTED.encode()
_TRUSTED_CASES = (
    _trusted("for", "its X-Forwarded-For is extended",
             origin_field("X-Forwarded-For", b"203.0.113.7, " + _TRUSTED_PEER),
             lines=(b"X-Forwarded-For: 203.0.113.7",)),
    _trusted("for-list", "a list is extended",
             origin_field("X-Forwarded-For", b"198.51.100.1, 203.0.113.7, " + _TRUSTED_PEER),
             lines=(b"X-Forwarded-For: 198.51.100.1, 203.0.113.7",)),
    _trusted("for-lines", "two lines are one list",
             origin_field("X-Forwarded-For", b"198.51.100.1, 203.0.113.7, " + _TRUSTED_PEER),
             lines=(b"X-Forwarded-For: 198.51.100.1", b"X-Forwarded-For: 203.0.113.7")),
    _trusted("none", "without a word of its own", origin_field("X-Forwarded-For", _TRUSTED_PEER),
             lines=()),
    _trusted("proto", "its X-Forwarded-Proto goes on",
             origin_field("X-Forwarded-Proto", b"https"), lines=(b"X-Forwarded-Proto: https",)),
    _trusted("proto-garbage", "a scheme that is none does not go on",
             origin_lacks("X-Forwarded-Proto", b"javascript"),
             lines=(b"X-Forwarded-Proto: javascript",)),
    _trusted("host", "its X-Forwarded-Host goes on",
             origin_field("X-Forwarded-Host", b"www.example.org"),
             lines=(b"X-Forwarded-Host: www.example.org",)),
    _trusted("garbage", "an address that is none breaks nothing",
             lines=(b"X-Forwarded-For: unknown, \xff, ::::",)),
    _trusted("ipv6", "an IPv6 address",
             origin_field("X-Forwarded-For", b"2001:db8::1, " + _TRUSTED_PEER),
             lines=(b"X-Forwarded-For: 2001:db8::1",)),
    _trusted("identity", "identity fields are removed all the same",
             origin_lacks("X-User-Id"), lines=(b"X-User-Id: root",)),
    _trusted("underscore", "underscored spellings are removed all the same",
             origin_lacks("X-Forwarded-For", _SPOOF), lines=(b"X_Forwarded_For: 6.6.6.6",)),
    _trusted("request-id", "its request id is taken over",
             origin_field("X-Request-Id", b"abc-123"), lines=(b"X-Request-Id: abc-123",)),
    _trusted("request-id-bad", "unless it is harmful", origin_lacks("X-Request-Id", b"<"),
             lines=(b"X-Request-Id: <script>",)),
)  # fmt: skip

_IDENTITY = tuple(
    Case(f"identity-{id_}", f"identity: {title}", "design", (request(*lines),),
         (forwarded(origin_lacks(name)),), gatewayd_only=True)
    for id_, title, name, lines in (
        ("user", "X-User-Id of a client", "X-User-Id", (b"X-User-Id: root",)),
        ("roles", "X-User-Roles", "X-User-Roles", (b"X-User-Roles: admin",)),
        ("api-key", "X-Api-Key-Id", "X-Api-Key-Id", (b"X-Api-Key-Id: 1",)),
        ("principal", "X-Principal", "X-Principal", (b"X-Principal: root",)),
        ("case", "in other case", "X-User-Id", (b"x-uSER-iD: root",)),
        ("lines", "on two lines", "X-User-Id", (b"X-User-Id: root", b"X-User-Id: root")),
        ("empty", "empty", "X-User-Id", (b"X-User-Id:",)),
        ("mixed", "with one underscore", "X-User-Id", (b"X-User_Id: root",)),
        ("named", "named by Connection", "X-User-Id", (b"Connection: X-User-Id",
                                                       b"X-User-Id: root")),
    )
)  # fmt: skip

_IDENTITY_TRAILER = Case(
    "identity-trailer", "identity: as a trailer", "RFC 9110 section 6.5.1",
    (chunked(b"0\r\nX-User-Id: root\r\nX_User_Id: root\r\n\r\n"),),
    (forwarded(origin_lacks("X-User-Id")),), gatewayd_only=True,
)  # fmt: skip

CASES = (*_STRANGER, *_TRUSTED_CASES, *_IDENTITY, _IDENTITY_TRAILER)
