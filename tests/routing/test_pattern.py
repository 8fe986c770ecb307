"""Path patterns: what they match, and the parameters that they find."""

from __future__ import annotations

import pytest

from gatewayd.routing.pattern import PathPattern


@pytest.mark.parametrize(
    ("pattern", "match", "path", "matches"),
    [
        ("/", "prefix", "/", True),
        ("/", "prefix", "/a/b", True),
        ("/projects", "prefix", "/projects", True),
        ("/projects", "prefix", "/projects/", True),
        ("/projects", "prefix", "/projects/x/y", True),
        ("/projects", "prefix", "/projectsx", False),
        ("/projects", "prefix", "/", False),
        ("/projects/", "prefix", "/projects", True),
        ("/a b", "prefix", "/a%20b/c", True),
        ("/caf\u00e9", "prefix", "/caf%C3%A9", True),
        ("/v:1", "prefix", "/v:1", True),
        ("/", "exact", "/", True),
        ("/", "exact", "/a", False),
        ("/a", "exact", "/a", True),
        ("/a", "exact", "/a/", False),
        ("/a/", "exact", "/a/", True),
        ("/a/", "exact", "/a", False),
        ("/a/{id}", "exact", "/a/1", True),
        ("/a/{id}", "exact", "/a/", False),
        ("/a/{id}", "exact", "/a/1/", False),
        ("/a/{id}", "exact", "/a/1/2", False),
        ("/a/{id}", "prefix", "/a/1/2", True),
        ("/a/{id}", "prefix", "/a", False),
        ("/a/{id}/c", "exact", "/a/b/c", True),
        ("/a/{id}/c", "exact", "/a/b/d", False),
        (r"/a/{id:\d{2,3}}", "exact", "/a/123", True),
        (r"/a/{id:\d{2,3}}", "exact", "/a/1", False),
        (r"/a/{id:\d{2,3}}", "exact", "/a/1234", False),
        (r"/a/{id:\d+}", "exact", "/a/%D9%A3", False),
        (r"/a/{id:\{x\}}", "exact", "/a/%7Bx%7D", True),
        ("/a/{name:a b}", "exact", "/a/a%20b", True),
        ("/a/{any:.*}", "exact", "/a/", False),
        ("/a/{kind:x|y}/c", "prefix", "/a/y/c/d", True),
        ("/files/{rest...}", "prefix", "/files", True),
        ("/files/{rest...}", "exact", "/files/", True),
        ("/files/{rest...}", "exact", "/files/a/b", True),
        ("/files/{rest...}", "exact", "/filesystem", False),
        ("/{rest...}", "exact", "/", True),
        ("/v[12]/.*", "regex", "/v1/x", True),
        ("/v[12]", "regex", "/v1/x", False),
        ("/v[12]", "regex", "/x/v1", False),
    ],
)
def test_matches(pattern: str, match: str, path: str, matches: bool) -> None:
    assert PathPattern(pattern, match).matches(path) is matches


@pytest.mark.parametrize(
    ("pattern", "match", "path", "params"),
    [
        ("/a", "prefix", "/a", {}),
        ("/{a}/x/{b}", "exact", "/1/x/2", {"a": "1", "b": "2"}),
        ("/{a}", "prefix", "/1/x", {"a": "1"}),
        ("/{a}", "exact", "/a%20b%2Fc", {"a": "a b/c"}),
        ("/{a}", "exact", "/%C3%A9%FF", {"a": "\u00e9\ufffd"}),
        (r"/{a:\d+}", "exact", "/12", {"a": "12"}),
        ("/f/{rest...}", "prefix", "/f", {"rest": ""}),
        ("/f/{rest...}", "prefix", "/f/", {"rest": ""}),
        ("/f/{rest...}", "prefix", "/f/a/b%20c/", {"rest": "a/b c/"}),
        ("/f/{rest...}", "prefix", "/f/a%2Fb", {"rest": "a%2Fb"}),
        ("/{a}/{all...}", "prefix", "/x/y/z", {"a": "x", "all": "y/z"}),
        ("/(?P<v>v[12])/(?P<tail>.*)", "regex", "/v1/a%20/b", {"v": "v1", "tail": "a /b"}),
        ("/a(?P<b>b)?", "regex", "/a", {"b": ""}),
    ],
)
def test_finds_parameters(pattern: str, match: str, path: str, params: dict[str, str]) -> None:
    compiled = PathPattern(pattern, match)
    assert compiled.matches(path)
    assert compiled.params(path) == params


@pytest.mark.parametrize(
    ("pattern", "path", "below"),
    [
        ("/", "/", "/"),
        ("/", "/a/b", "/a/b"),
        ("/a", "/a", ""),
        ("/a", "/a/", "/"),
        ("/a", "/a/b/c", "/b/c"),
    ],
)
def test_knows_what_lies_below(pattern: str, path: str, below: str) -> None:
    assert PathPattern(pattern).below(path) == below


@pytest.mark.parametrize(
    ("pattern", "match", "message"),
    [
        ("a", "prefix", "begins with a slash"),
        ("", "exact", "begins with a slash"),
        ("/a//b", "prefix", "empty segments"),
        ("//", "exact", "empty segments"),
        ("/a/../b", "prefix", "dot segments"),
        ("/%zz", "prefix", "may not stand"),
        ("/a?b", "prefix", "may not stand"),
        ("/a\\b", "prefix", "may not stand"),
        ("/{a", "prefix", "not closed"),
        ("/a}", "prefix", "not closed"),
        ("/{}", "prefix", "not a parameter"),
        ("/{1a}", "prefix", "not a parameter"),
        ("/{a-b}", "prefix", "not a parameter"),
        ("/{:x}", "prefix", "not a parameter"),
        ("/x{a}", "prefix", "whole segment"),
        ("/a;b/c", "prefix", "path parameters"),
        ("/{a}{b}", "prefix", "not a parameter"),
        ("/{a}/{a}", "prefix", "only once"),
        ("/{a}/{a...}", "prefix", "only once"),
        ("/{rest...}/a", "prefix", "at the end"),
        ("/{a:(}", "prefix", "regular expression"),
        ("/{a:x{1,99999999999}}", "prefix", "regular expression"),
        ("(", "regex", "regular expression"),
        ("x" * 1025, "regex", "longer than 1024"),
    ],
)
def test_refuses_what_is_no_pattern(pattern: str, match: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PathPattern(pattern, match)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/a/{x}", "/a/{y}", True),
        ("/a", "/a/", True),
        ("/a/{x...}", "/a", True),
        ("/a/{x:1}", "/a/{y:1}", True),
        ("/a/{x:1}", "/a/{x:2}", False),
        ("/a", "/b", False),
        ("/a/{x}", "/a", False),
    ],
)
def test_the_signature_tells_whether_the_same_paths_match(one: str, other: str, same: bool) -> None:
    assert (PathPattern(one).signature == PathPattern(other).signature) is same
