"""Hosts, header fields and query parameters."""

from __future__ import annotations

import pytest

from gatewayd import Headers
from gatewayd.routing.predicates import (
    Predicate,
    Query,
    ValueTest,
    host_name,
    host_pattern,
    host_patterns,
)

NO_QUERY = Query(None)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("example.org", "example.org"),
        ("Example.ORG:8080", "example.org"),
        ("example.org.", "example.org"),
        ("example.org.:80", "example.org"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:DB8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
    ],
)
def test_hosts_are_compared_without_case_port_and_final_dot(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("API.example.org.", "api.example.org"),
        ("*.Example.org", "*.example.org"),
        ("localhost", "localhost"),
        ("192.0.2.1", "192.0.2.1"),
        ("[::1]", "::1"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
    ],
)
def test_configured_hosts(text: str, pattern: str) -> None:
    assert host_pattern(text) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "a.*.org",
        "*a.org",
        "a..b",
        "-a.org",
        "a:80",
        "http://a",
        "m\u00fcnchen.de",
        "a b",
        "a/b",
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a host name"):
        host_pattern(text)


@pytest.mark.parametrize(
    ("host", "patterns"),
    [
        ("a.b.c", ["a.b.c", "*.b.c", "*.c", ""]),
        ("*.b.c", ["*.b.c", "*.c", ""]),
        ("a", ["a", ""]),
        ("", [""]),
    ],
)
def test_what_covers_a_host(host: str, patterns: list[str]) -> None:
    assert host_patterns(host) == patterns


@pytest.mark.parametrize(
    ("text", "value", "accepts"),
    [
        ("1", "1", True),
        ("1", "11", False),
        ("Beta", "beta", False),
        ("*", "", True),
        ("*", "x", True),
        ("~v[12]", "v1", True),
        ("~v[12]", "v12", False),
        ("~", "", True),
    ],
)
def test_values(text: str, value: str, accepts: bool) -> None:
    assert ValueTest(text).accepts(value) is accepts


@pytest.mark.parametrize(
    ("one", "other", "covers", "excludes"),
    [
        ("1", "1", True, False),
        ("1", "2", False, True),
        ("*", "~x", True, False),
        ("*", "1", True, False),
        ("1", "*", False, False),
        ("~[12]", "1", True, False),
        ("~[12]", "3", False, True),
        ("3", "~[12]", False, True),
        ("1", "~[12]", False, False),
        ("~a", "~a", True, False),
        ("~a", "~b", False, False),
    ],
)
def test_tests_are_compared(one: str, other: str, covers: bool, excludes: bool) -> None:
    assert ValueTest(one).covers(ValueTest(other)) is covers
    assert ValueTest(one).excludes(ValueTest(other)) is excludes


@pytest.mark.parametrize(
    ("fields", "accepts"),
    [
        ([("x-beta", "1")], True),
        ([("X-Beta", "2")], False),
        ([("X-Beta", "1"), ("X-Beta", "1")], False),  # one value: "1, 1"
        ([], False),
    ],
)
def test_header_fields(fields: list[tuple[str, str]], accepts: bool) -> None:
    assert Predicate("header", "X-Beta", "1").accepts(Headers.of(fields), NO_QUERY) is accepts


def test_no_headers_meet_no_header_predicate() -> None:
    assert not Predicate("header", "X-Beta", "*").accepts(None, NO_QUERY)


@pytest.mark.parametrize(
    ("query", "accepts"),
    [
        ("v=1", True),
        ("a&v=1&b=2", True),
        ("v=0&v=1", True),
        ("%76=%31", True),
        ("v=2", False),
        ("v", False),
        ("vv=1", False),
        ("", False),
        (None, False),
    ],
)
def test_query_parameters(query: str | None, accepts: bool) -> None:
    assert Predicate("query", "v", "1").accepts(None, Query(query)) is accepts


def test_a_parameter_without_a_value_is_there() -> None:
    assert Predicate("query", "debug", "*").accepts(None, Query("debug"))


def test_a_plus_is_a_space() -> None:
    assert list(Query("a+b=c+d").values("a b")) == ["c d"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("X Beta", "1", "field name"),
        ("X-Beta", "~(", "regular expression"),
        ("X-Beta", "~" + "x" * 1025, "regular expression"),
        ("Upgrade", "websocket", "Upgrade ends at the gateway's connection"),
        ("Expect", "100-continue", "Expect ends at the gateway's connection"),
        ("content-length", "0", "content-length ends at"),
    ],
)
def test_refuses_what_is_no_predicate(name: str, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Predicate("header", name, text)
