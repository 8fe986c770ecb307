"""Rewrites and redirects: what they make, and what a client cannot make of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd import ConfigError, Reject, Route
from tests.support.routing import make_route


def params_of(route: Route, path: str) -> dict[str, str]:
    return route.pattern.params(path)


def rewritten(path: str, /, *, at: str = "/", match: str = "prefix", **rewrite: str) -> str:
    route = make_route(at, match=match, rewrite=rewrite)
    return route.rewritten(path, params_of(route, path))


def location(path: str, query: str | None = None, *, at: str = "/", to: str) -> str:
    route = make_route(at, redirect={"to": to})
    return route.redirect_location(path, params_of(route, path), query)


@pytest.mark.parametrize(
    ("rewrite", "path", "expected"),
    [
        ({"strip_prefix": "/servers"}, "/servers/1", "/1"),
        ({"strip_prefix": "/servers"}, "/servers", "/"),
        ({"strip_prefix": "/servers"}, "/servers/", "/"),
        ({"strip_prefix": "/servers/"}, "/servers/1", "/1"),
        ({"strip_prefix": "/servers"}, "/serversx", "/serversx"),
        ({"strip_prefix": "/servers"}, "/other", "/other"),
        ({"strip_prefix": "/a:b"}, "/a%3Ab/c%3A", "/c%3A"),
        ({"strip_prefix": "/a%3Ab"}, "/a:b/c", "/c"),
        ({"prefix": "/v1"}, "/a", "/v1/a"),
        ({"prefix": "/v1/"}, "/a", "/v1/a"),
        ({"prefix": "/my files"}, "/a", "/my%20files/a"),
        ({"strip_prefix": "/servers", "prefix": "/v1/i"}, "/servers/1", "/v1/i/1"),
        ({"strip_prefix": "/servers", "prefix": "/v1/i"}, "/servers", "/v1/i"),
        ({"regex": "^/v[0-9]+", "replacement": ""}, "/v1/a", "/a"),
        ({"regex": "/([a-z]+)/([a-z]+)", "replacement": r"/\2/\1"}, "/a/b/c/d", "/b/a/c/d"),
        ({"regex": "/(?P<x>.)", "replacement": r"/my \g<x>"}, "/a", "/my%20a"),
        ({"regex": "b", "replacement": "c"}, "/a", "/a"),
        ({"prefix": "/v1", "regex": "^/v1/a", "replacement": "/b"}, "/a", "/b"),
        ({"host": "internal:8080"}, "/a", "/a"),
    ],
)
def test_rewrites(rewrite: dict[str, str], path: str, expected: str) -> None:
    assert rewritten(path, **rewrite) == expected


@pytest.mark.parametrize(
    ("at", "match", "to", "path", "expected"),
    [
        ("/{a}/{b}", "exact", "/x/{b}/{a}", "/1/2", "/x/2/1"),
        ("/{a}", "exact", "/x/{a}", "/a%20b%2Fc", "/x/a%20b%2Fc"),
        ("/{a}", "exact", "/x/{a}", "/a+b:c@d", "/x/a+b:c@d"),
        ("/{a}", "exact", "/x/{a}", "/a%3Bb%3Fc%23d", "/x/a%3Bb%3Fc%23d"),
        ("/{a}", "exact", "/x/{a}", "/%25zz", "/x/%25zz"),
        ("/f/{rest...}", "prefix", "/x/{rest}", "/f/a/b%20c/", "/x/a/b%20c/"),
        ("/f/{rest...}", "prefix", "/x/{rest}", "/f/a%2Fb/c", "/x/a%2Fb/c"),
        ("/f/{rest...}", "prefix", "/x/{rest}", "/f", "/x/"),
        ("/(?P<v>v.)/(?P<tail>.*)", "regex", "/{tail}/{v}", "/v1/a/b", "/a/b/v1"),
        ("/a", "prefix", "/health", "/a", "/health"),
    ],
)
def test_rewrites_the_whole_path(at: str, match: str, to: str, path: str, expected: str) -> None:
    assert rewritten(path, at=at, match=match, path=to) == expected


def test_a_route_without_rewrite_leaves_the_path() -> None:
    assert make_route("/a").rewritten("/a/b", {}) == "/a/b"


@pytest.mark.parametrize(
    ("at", "rewrite", "path"),
    [
        ("/", {"regex": "x", "replacement": ""}, "/.x./admin"),
        ("/", {"regex": "^/", "replacement": ""}, "/a"),
        ("/", {"regex": "x", "replacement": r"\\077"}, "/x"),
        # Spellings that routes take for the same: the rewrite must not be walked around.
        ("/public", {"regex": "^/public/(.*)", "replacement": r"/tenants/a/\1"}, "/public;/x"),
        ("/v1", {"regex": "^/v1/a:b", "replacement": "/c"}, "/v1/a%3Ab"),
        ("/{a}", {"path": "/.{a}/b"}, "/."),
        ("/{a}", {"path": "/x/{a}"}, "/%FF"),
        ("/f/{rest...}", {"path": "/x/{rest}"}, "/f/..%2Fadmin"),
    ],
)
def test_refuses_what_a_rewrite_may_not_make(at: str, rewrite: dict[str, str], path: str) -> None:
    with pytest.raises(Reject) as caught:
        rewritten(path, at=at, **rewrite)
    assert (caught.value.status, caught.value.code) == (400, "bad_path")


@given(value=st.text())
@settings(deadline=None)
def test_a_parameter_stays_one_segment(value: str) -> None:
    route = make_route("/{a}", rewrite={"path": "/x/{a}/y"})
    try:
        path = route.rewritten("/", {"a": value})
    except Reject:
        return
    assert path.count("/") == 3
    assert path.isascii()
    assert path.isprintable()
    assert not set("?# ") & set(path)


@pytest.mark.parametrize(
    ("rewrite", "message"),
    [
        ({"strip_prefix": "a"}, "begins with a slash"),
        ({"prefix": "/a/.."}, "dot segments"),
        ({"prefix": "/a?b"}, "may not stand"),
        ({"regex": "("}, "go together"),
        ({"replacement": "x"}, "go together"),
        ({"regex": "(", "replacement": ""}, "regular expression"),
        ({"regex": "x", "replacement": r"\1"}, "replacement"),
        ({"regex": "x", "replacement": r"\g<a>"}, "replacement"),
        ({"path": "/x", "prefix": "/y"}, "excludes"),
        ({"path": "/x", "strip_prefix": "/"}, "excludes"),
        ({"path": "/{b}"}, r"unknown placeholder \{b\}; there are: \{a\}"),
        ({"path": "/{a"}, "brace"),
        ({"path": "x/{a}"}, "begins with a slash"),
        ({"path": "/x?{a}"}, "may not stand"),
        ({"host": "a/b"}, "host"),
        ({"host": "a\r\nX: y"}, "host"),
    ],
)
def test_refuses_a_rewrite_that_makes_no_path(rewrite: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_route("/{a}", index=3, rewrite=rewrite)
    assert [issue.key for issue in caught.value.issues] == ["routes[3].rewrite"]


@pytest.mark.parametrize(
    ("at", "to", "path", "query", "expected"),
    [
        ("/docs", "https://d.example{rest}", "/docs", None, "https://d.example"),
        ("/docs", "https://d.example{rest}", "/docs/", None, "https://d.example/"),
        ("/docs", "https://d.example{rest}", "/docs/a%20b/c", None, "https://d.example/a%20b/c"),
        ("/", "https://d.example{rest}{query}", "/a", "b=1", "https://d.example/a?b=1"),
        ("/", "https://d.example{query}", "/a", "b=1", "https://d.example?b=1"),
        ("/", "https://d.example{query}", "/a", "", "https://d.example?"),
        ("/", "https://d.example/x{query}", "/a", None, "https://d.example/x"),
        ("/", "/x?from=old{query}", "/a", "b=1", "/x?from=old&b=1"),
        ("/{id}", "/items?id={id}", "/a&b=c", None, "/items?id=a%26b%3Dc"),
        ("/{id}", "/items/{id}", "/a%2Fb", None, "/items/a%2Fb"),
        ("/f/{rest...}", "/g/{rest}", "/f/a/b%2Fc", None, "/g/a/b%2Fc"),
        ("/f/{all...}", "/g{rest}", "/f/a/b", None, "/g/a/b"),
        ("/{query}", "/x/{query}", "/a", "b", "/x/a"),
        ("/old", "{rest}", "/old/a", None, "/a"),
        ("/old", "{rest}", "/old", None, "/"),
        ("/old", "https://[2001:db8::1]:8443/x", "/old", None, "https://[2001:db8::1]:8443/x"),
    ],
)
def test_redirects(at: str, to: str, path: str, query: str | None, expected: str) -> None:
    assert location(path, query, at=at, to=to) == expected


@pytest.mark.parametrize(
    ("at", "to", "path"),
    [
        ("/old", "{rest}", "/old//evil.example"),
        ("/old", "/{rest}", "/old/evil.example"),
        ("/old/{rest...}", "/{rest}", "/old//evil.example"),
        ("/old/{a}", "/{a}", "/old/%2Fevil.example"),
        ("/old/{a}", "/{a}", "/old/%5C%5Cevil.example"),
    ],
)
def test_a_redirect_to_a_path_never_leaves_the_host(at: str, to: str, path: str) -> None:
    target = location(path, at=at, to=to)
    assert target.startswith("/")
    assert urlsplit(target).netloc == ""
    assert "\\" not in target


@given(value=st.text(), query=st.text(st.characters(max_codepoint=255)))
@settings(deadline=None)
def test_nothing_of_the_client_leaves_its_place(value: str, query: str) -> None:
    route = make_route("/{a}", redirect={"to": "https://d.example/x/{a}{query}"})
    try:
        target = route.redirect_location("/", {"a": value}, query)
    except Reject:
        return
    assert target.isascii()
    assert target.isprintable()
    parts = urlsplit(target)
    assert (parts.scheme, parts.netloc) == ("https", "d.example")
    assert parts.path.count("/") == 2
    assert " " not in target
    assert not parts.fragment


def test_a_redirect_does_not_send_a_parameter_that_lost_octets() -> None:
    with pytest.raises(Reject, match="UTF-8"):
        location("/%FF", at="/{a}", to="/x/{a}")


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("https://{a}/x", "literal host"),
        ("https://d.example{a}", "literal host"),
        ("https://{a}.d.example/", "literal host"),
        ("https://d.example:{a}/", "literal host"),
        ("https://user@d.example/", "literal host"),
        ("https:///x", "literal host"),
        ("//d.example/", "literal host"),
        ("javascript:alert(1)", "literal host"),
        ("x/{a}", "literal host"),
        ("{a}", "literal host"),
        ("", "literal host"),
        ("/{b}", "unknown placeholder"),
        ("/{a", "brace"),
        ("/a b", "may not stand in a URI"),
        ("/a\r\nX: y", "may not stand in a URI"),
        ("/caf\u00e9", "may not stand in a URI"),
    ],
)
def test_refuses_a_redirect_that_leads_nowhere(to: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_route("/{a}", redirect={"to": to})
    assert [issue.key for issue in caught.value.issues] == ["routes[0].redirect"]


@pytest.mark.parametrize(
    ("at", "match", "to"),
    [("/a", "exact", "/b{rest}"), ("/f/{rest...}", "prefix", "https://d.example{rest}")],
)
def test_rest_is_what_lies_below_an_open_pattern(at: str, match: str, to: str) -> None:
    with pytest.raises(ConfigError):
        make_route(at, match=match, redirect={"to": to})


def test_a_redirect_has_no_rewrite() -> None:
    config: dict[str, Any] = {"redirect": {"to": "/b"}, "rewrite": {"prefix": "/c"}}
    with pytest.raises(ConfigError, match="no rewrite"):
        make_route("/a", **config)
