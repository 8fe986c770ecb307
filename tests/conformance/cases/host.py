"""The Host field: one, and a valid one (RFC 9112 section 3.2, RFC 9110 section 7.2)."""

from __future__ import annotations

import re

from tests.conformance.case import Case
from tests.conformance.messages import request
from tests.conformance.outcome import MALFORMED, answered, forwarded, origin_field, refused

_MUST = "RFC 9112 section 3.2"


def _invalid(id_: str, title: str, value: bytes) -> Case:
    """Return a case about an invalid value: a server MUST respond with 400."""
    return Case(f"host-{id_}", title, _MUST, (request(host=b"Host: " + value),), (refused(400),))


def _valid(id_: str, title: str, value: bytes, *expected: bytes) -> Case:
    """Return a case of a valid value, which goes on; some proxies are set to drop the port."""
    names = expected or (value,)
    without_port = re.sub(rb":[0-9]*$", b"", names[0]).lower()
    accept = forwarded(origin_field("Host", *names, without_port))
    ours = forwarded(origin_field("Host", *names))
    steps = (request(host=b"Host:" + value),)
    return Case(f"host-{id_}", title, "RFC 9110 section 7.2", steps, (accept,), (ours,))


CASES = (
    Case("host-missing", "no Host", _MUST, (request(host=None),), (refused(400),)),
    Case("host-twice", "two different Host fields", _MUST,
         (request(b"Host: other.test"),), (refused(400),)),
    Case("host-twice-same", "two equal Host fields", _MUST,
         (request(b"Host: gateway.test"),), (refused(400),)),
    Case("host-twice-case", "two Host fields, names in different case", _MUST,
         (request(b"hOsT: other.test"),), (refused(400),)),
    Case("host-twice-1.0", "two Host fields in HTTP/1.0", _MUST,
         (request(b"Host: other.test", version=b"HTTP/1.0"),), MALFORMED, (refused(400),)),
    Case("host-twice-absolute", "two Host fields and absolute-form", _MUST,
         (request(b"Host: other.test", target=b"http://gateway.test/t/"),), (refused(400),)),
    Case("host-empty", "empty Host: an http URI has a host", "RFC 9110 section 4.2.1",
         (request(host=b"Host:"),), (forwarded(), answered(400, 404)), (refused(400),)),
    _invalid("list", "a list", b"gateway.test, other.test"),
    _invalid("comma", "a comma without space", b"gateway.test,other.test"),
    _invalid("two-words", "two words", b"gateway.test other.test"),
    _invalid("space-inside", "space inside", b"gateway .test"),
    _invalid("tab-inside", "tab inside", b"gateway\t.test"),
    _invalid("userinfo", "userinfo", b"user@gateway.test"),
    _invalid("userinfo-password", "userinfo with password", b"user:pw@gateway.test"),
    _invalid("path", "a path", b"gateway.test/t"),
    _invalid("query", "a query", b"gateway.test?x"),
    _invalid("fragment", "a fragment", b"gateway.test#x"),
    _invalid("backslash", "a backslash", b"gateway.test\\x"),
    _invalid("uri", "a URI", b"http://gateway.test"),
    _invalid("port-letters", "port that is no number", b"gateway.test:http"),
    _invalid("port-negative", "negative port", b"gateway.test:-1"),
    _invalid("port-plus", "port with a sign", b"gateway.test:+80"),
    _invalid("port-twice", "two ports", b"gateway.test:80:80"),
    _invalid("only-port", "only a port", b":80"),
    _invalid("ipv6-bare", "IPv6 address without brackets", b"::1"),
    _invalid("ipv6-unclosed", "IPv6 address without closing bracket", b"[::1"),
    _invalid("ipv6-unopened", "closing bracket only", b"::1]"),
    _invalid("ipv6-letters", "no IPv6 address in the brackets", b"[::xyz]"),
    _invalid("ipv6-tail", "text behind the bracket", b"[::1]x"),
    _invalid("angle-brackets", "angle brackets", b"<gateway.test>"),
    _invalid("quotes", "quotes", b'"gateway.test"'),
    _invalid("nul", "NUL", b"gateway.test\x00"),
    _invalid("control", "control character", b"gateway\x01.test"),
    _invalid("vertical-tab", "vertical tab in front", b"\x0bgateway.test"),
    _invalid("non-ascii", "raw UTF-8", "gäteway.test".encode()),
    _invalid("latin-1", "raw Latin-1", b"g\xe4teway.test"),
    _invalid("bad-percent", "percent sign without digits", b"gateway%zz.test"),
    Case("host-port-big", "port above 65535", "RFC 9110 section 4.2.1",
         (request(host=b"Host: gateway.test:65536"),), (forwarded(), refused(400)),
         (refused(400),)),
    Case("host-port-huge", "port of 30 digits", "RFC 9110 section 4.2.1",
         (request(host=b"Host: gateway.test:" + b"8" * 30),), (forwarded(), refused(400)),
         (refused(400),)),
    Case("host-percent", "percent-encoded reg-name", "RFC 3986 section 3.2.2",
         (request(host=b"Host: %67ateway.test"),), (forwarded(), answered(400, 404))),
    Case("host-long", "a name of 300 bytes", "RFC 1035 section 2.3.4",
         (request(host=b"Host: " + b"a." * 150 + b"test"),), (forwarded(), answered(400, 404))),
    _valid("no-space", "no space behind the colon", b"gateway.test"),
    _valid("padded", "white space around", b" \tgateway.test \t", b"gateway.test"),
    _valid("port", "a port", b" gateway.test:8080", b"gateway.test:8080"),
    _valid("port-default", "the default port", b" gateway.test:80", b"gateway.test:80",
           b"gateway.test"),
    _valid("port-empty", "an empty port", b" gateway.test:", b"gateway.test:", b"gateway.test"),
    _valid("upper-case", "upper case", b" GATEWAY.Test", b"GATEWAY.Test", b"gateway.test"),
    _valid("trailing-dot", "a final dot", b" gateway.test.", b"gateway.test.", b"gateway.test"),
    _valid("underscore", "an underscore, as container names have", b" my_service", b"my_service"),
    _valid("ipv4", "IPv4 address", b" 127.0.0.1:80", b"127.0.0.1:80", b"127.0.0.1"),
    _valid("ipv6", "IPv6 address", b" [::1]", b"[::1]"),
    _valid("ipv6-port", "IPv6 address with port", b" [2001:db8::1]:8080", b"[2001:db8::1]:8080"),
)  # fmt: skip
