from __future__ import annotations

import pytest

from gatewayd.http1 import grammar
from gatewayd.http1.grammar import (
    BARE_LF,
    CONTENT_LENGTH,
    REQUEST_HEAD,
    REQUEST_LINE,
    TRAILERS,
    TRAILING_SPACE,
    list_members,
    parse_host,
    split_absolute_form,
)


@pytest.mark.parametrize(
    ("line", "groups"),
    [
        (b"GET / HTTP/1.1", (b"GET", b"/", b"1", b"1")),
        (b"a!#$%&'*+-.^_`|~0 * HTTP/9.0", (b"a!#$%&'*+-.^_`|~0", b"*", b"9", b"0")),
        (b'GET /?<"> HTTP/1.0', (b"GET", b'/?<">', b"1", b"0")),
        (b"GET /caf\xe9 HTTP/1.1", None),
        (b"GET  / HTTP/1.1", None),
        (b"GET / HTTP/1.1 ", None),
        (b"GET /a b HTTP/1.1", None),
        (b"GET\t/ HTTP/1.1", None),
        (b" GET / HTTP/1.1", None),
        (b"G@T / HTTP/1.1", None),
        (b"GET /\x00 HTTP/1.1", None),
        (b"GET /\x7f HTTP/1.1", None),
        (b"GET /#a HTTP/1.1", None),
        (b"GET /?a=b#&c=d HTTP/1.1", None),
        (b"GET http://a/?b#c HTTP/1.1", None),
        (b"GET / http/1.1", None),
        (b"GET / HTTP/11", None),
        (b"GET / HTTP/1.10", None),
        (b"GET / HTTP/1.\xb9", None),
        (b"GET / HTTPS/1.1", None),
        (b"GET /", None),
        (b"GET / HTTP/1.1\n", None),
        (b"GET / HTTP/1.1\r", None),
        (b"GET / HTTP/1.1\r\n", None),
    ],
)
def test_request_lines(line: bytes, groups: tuple[bytes, ...] | None) -> None:
    match = REQUEST_LINE.fullmatch(line)
    assert (None if match is None else match.groups()) == groups


@pytest.mark.parametrize(
    ("fields", "valid"),
    [
        (b"", True),
        (b"A:\r\n", True),
        (b"A: b\r\nc:d\r\n", True),
        (b"A: \t b \t \r\n", True),
        (b"A: caf\xe9\xff\r\n", True),
        (b"a!#$%&'*+-.^_`|~0: b\r\n", True),
        (b"A: b:c\r\n", True),
        (b"A : b\r\n", False),
        (b" A: b\r\n", False),
        (b"A: b\r\n c\r\n", False),
        (b"A: b\r\n\tc\r\n", False),
        (b"A\r\n", False),
        (b": b\r\n", False),
        (b"A(: b\r\n", False),
        (b"A\xe9: b\r\n", False),
        (b"A: b\n", False),
        (b"A: b\rc\r\n", False),
        (b"A: b\r\r\n", False),
        (b"A: b\x00\r\n", False),
        (b"A: \x0bb\r\n", False),
        (b"A: b\x7f\r\n", False),
        (b"A: b\r\n\r\nB: c\r\n", False),
    ],
)
def test_field_lines(fields: bytes, valid: bool) -> None:
    assert bool(REQUEST_HEAD.fullmatch(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")) == valid
    assert bool(TRAILERS.fullmatch(fields)) == valid


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"a\r\nb\r\n", False), (b"a\nb", True), (b"\n", True), (b"a\r\n\n", True), (b"a\r", False)],
)
def test_a_bare_line_feed_is_found(data: bytes, found: bool) -> None:
    assert bool(BARE_LF.search(data)) == found


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (b"0", True), (b"007", True), (b"9" * 18, True), (b"9" * 19, False), (b"", False),
        (b"+1", False), (b"-1", False), (b" 1", False), (b"1, 1", False), (b"1_0", False),
        (b"0x1", False), (b"1e3", False), (b"\xb2", False), (b"1\n", False),
    ],
)  # fmt: skip
def test_content_length_is_digits(value: bytes, valid: bool) -> None:
    assert bool(CONTENT_LENGTH.fullmatch(value)) == valid


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (b"Example.ORG", ("example.org", "Example.ORG")),
        (b"example.org:8080", ("example.org", "example.org:8080")),
        (b"example.org.", ("example.org", "example.org.")),
        (b"example.org:", ("example.org", "example.org:")),
        (b"a_b~c-d.e", ("a_b~c-d.e", "a_b~c-d.e")),
        (b"192.0.2.1:65535", ("192.0.2.1", "192.0.2.1:65535")),
        (b"[2001:DB8::1]:80", ("[2001:db8::1]", "[2001:DB8::1]:80")),
        (b"[::ffff:192.0.2.1]", ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]")),
        (b"a" * 255, ("a" * 255, "a" * 255)),
        (b"a" * 256, None),
        (b"", None),
        (b".", None),
        (b"..", None),
        (b":80", None),
        (b"a:65536", None),
        (b"a:999999", None),
        (b"a:8a", None),
        (b"a:-1", None),
        (b"a:80:80", None),
        (b"a, b", None),
        (b"a b", None),
        (b"user@a", None),
        (b"a/b", None),
        (b"a?b", None),
        (b"a#b", None),
        (b"a%20b", None),
        (b"caf\xe9.org", None),
        (b"[::1", None),
        (b"::1", None),
        (b"[::1%25eth0]", None),
        (b"[g::1]", None),
        (b"a\x00", None),
        (b"a\n", None),
    ],
)
def test_hosts(value: bytes, parsed: tuple[str, str] | None) -> None:
    assert parse_host(value) == parsed


def test_the_longest_host_with_the_longest_port_is_one() -> None:
    value = b"a" * 255 + b":65535"
    assert parse_host(value) == ("a" * 255, value.decode())


def test_what_is_too_long_for_a_host_is_not_remembered() -> None:
    grammar._parse_host.cache_clear()
    assert parse_host(b"a" * 262) is None
    assert grammar._parse_host.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"http://a.org", (b"a.org", b"/")),
        (b"HTTPS://a.org:8/b?c", (b"a.org:8", b"/b?c")),
        (b"http://a.org?c", (b"a.org", b"/?c")),
        (b"http:///b", (b"", b"/b")),
        (b"http://user@a.org/", None),
        (b"http://a.org#b", None),
        (b"ftp://a.org/", None),
        (b"http:/a", None),
        (b"a.org:443", None),
        (b"*", None),
    ],
)
def test_absolute_form(target: bytes, parts: tuple[bytes, bytes] | None) -> None:
    assert split_absolute_form(target) == parts


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b" , ,", []),
        (b"Close", [b"close"]),
        (b"\tkeep-alive , Upgrade", [b"keep-alive", b"upgrade"]),
        (b"a\x0b,b", [b"a\x0b", b"b"]),
    ],
)
def test_list_members(value: bytes, members: list[bytes]) -> None:
    assert list_members(value) == members


def test_white_space_before_the_end_of_lines_is_dropped() -> None:
    head = b"A: b \t\r\nC:\t d\r\nE:  \r\n\r\n"
    assert TRAILING_SPACE.sub(b"\r\n", head) == b"A: b\r\nC:\t d\r\nE:\r\n\r\n"


def test_white_space_elsewhere_takes_no_quadratic_time() -> None:
    line = b"A:" + b" " * 1_000_000 + b"b"
    assert TRAILING_SPACE.sub(b"\r\n", line + b" \r\n") == line + b"\r\n"  # or in an hour
