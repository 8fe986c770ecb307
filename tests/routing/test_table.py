"""The route table: which route wins, 404 and 405, and why."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd import ConfigError, Headers, RouteTable
from gatewayd.routing.table import NOT_FOUND
from tests.support.routing import make_route, make_table


def found(table: RouteTable, path: str = "/", method: str = "GET", **request: Any) -> str | None:
    route = table.find(method, path, **request).route
    return None if route is None else route.name


def winner(first: dict[str, Any], second: dict[str, Any], **request: Any) -> str | None:
    """Return which of two routes wins, having checked that their order does not count."""
    routes = [{"path": "/a", **first, "name": "first"}, {"path": "/a", **second, "name": "second"}]
    one, other = found(make_table(*routes), **request), found(make_table(*routes[::-1]), **request)
    assert one == other
    return one


EXACT: dict[str, Any] = {"match": "exact"}


@pytest.mark.parametrize(
    ("first", "second", "request_"),
    [
        pytest.param({"path": "/", "priority": 1}, {"path": "/a", **EXACT}, {}, id="priority"),
        pytest.param(
            {"hosts": ["a.example.org"], "path": "/"},
            {"hosts": ["*.example.org"], **EXACT},
            {"host": "a.example.org"},
            id="exact-host",
        ),
        pytest.param(
            {"hosts": ["*.b.example.org"], "path": "/"},
            {"hosts": ["*.example.org"], **EXACT},
            {"host": "a.b.example.org"},
            id="longest-wildcard",
        ),
        pytest.param(
            {"hosts": ["*.example.org"], "path": "/"},
            EXACT,
            {"host": "a.example.org"},
            id="any-host-last",
        ),
        pytest.param(EXACT, {"path": "/a", "match": "regex"}, {}, id="exact-before-regex"),
        pytest.param({"path": "/a|/b", "match": "regex"}, {}, {}, id="regex-before-prefix"),
        pytest.param(
            {"path": "/(a|b)", "match": "regex"},
            {"path": "/.", "match": "regex"},
            {},
            id="longer-regex",
        ),
        pytest.param(EXACT, {}, {}, id="exact-before-prefix"),
        pytest.param({"path": "/a/b"}, {"path": "/a"}, {"path": "/a/b/c"}, id="longer-prefix"),
        pytest.param(
            {"path": "/a"}, {"path": "/{x}", **EXACT}, {}, id="literal-before-exact-param"
        ),
        pytest.param({"path": "/{x:a}"}, {"path": "/{x}"}, {}, id="expression-before-param"),
        pytest.param({"path": "/{x:a|b}"}, {"path": "/{x:a}"}, {}, id="longer-expression"),
        pytest.param({"path": "/{x}"}, {"path": "/{x...}"}, {}, id="param-before-rest"),
        pytest.param(
            {"path": "/a/{x}/{y}"},
            {"path": "/{x}/b/c", **EXACT},
            {"path": "/a/b/c"},
            id="earlier-segments-count-first",
        ),
        pytest.param(
            {"headers": {"X-A": "1", "X-B": "1"}},
            {"headers": {"X-A": "1"}, "methods": ["GET"]},
            {"headers": Headers.of([("X-A", "1"), ("X-B", "1")])},
            id="more-conditions",
        ),
        pytest.param(
            {"query": {"v": "1"}}, {"query": {"v": "~1"}}, {"query": "v=1"}, id="exact-condition"
        ),
        pytest.param(
            {"query": {"v": "~1"}}, {"query": {"v": "*"}}, {"query": "v=1"}, id="regex-condition"
        ),
        pytest.param({"methods": ["GET"]}, {}, {}, id="restricted-methods"),
        pytest.param(
            {"methods": ["POST"]},
            {"methods": ["GET", "POST"]},
            {"method": "POST"},
            id="fewer-methods",
        ),
        pytest.param({}, {}, {}, id="name"),
    ],
)
def test_the_most_specific_route_wins(
    first: dict[str, Any], second: dict[str, Any], request_: dict[str, Any]
) -> None:
    assert winner(first, second, **{"path": "/a", **request_}) == "first"


@pytest.mark.parametrize(
    ("better", "request_"),
    [
        pytest.param({"path": "/a/b/c", "methods": ["POST"]}, {}, id="method"),
        pytest.param({"path": "/a/b/c", "headers": {"X-A": "1"}}, {}, id="header"),
        pytest.param({"path": "/a/b/c", "query": {"v": "1"}}, {"query": "v=2"}, id="query"),
        pytest.param({"path": "/a/b/x"}, {}, id="literal-branch"),
        pytest.param({"path": "/a/{x:b}/x"}, {}, id="expression-branch"),
        pytest.param({"path": "/a/{x}/x"}, {}, id="param-branch"),
        pytest.param({"path": "/a/b", "match": "exact"}, {}, id="exact-but-longer"),
        pytest.param({"path": "/a/b", "hosts": ["b.example"]}, {}, id="other-host"),
        pytest.param({"path": "/x", "hosts": ["a.example"]}, {}, id="host-without-the-path"),
        pytest.param({"path": "/x", "priority": 9}, {}, id="priority-without-the-path"),
    ],
)
def test_falls_back_to_a_less_specific_route(
    better: dict[str, Any], request_: dict[str, Any]
) -> None:
    table = make_table({"name": "better", **better}, {"name": "fallback", "path": "/a"})
    assert found(table, "/a/b/c", host="a.example", **request_) == "fallback"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("example.org", "apex"),
        ("EXAMPLE.org:8080", "apex"),
        ("example.org.", "apex"),
        ("a.example.org", "below"),
        ("a.b.c.example.org", "below"),
        ("aexample.org", "any"),
        ("a.example.org.evil.example", "any"),
        ("*.example.org", "below"),
        ("", "any"),
        ("[::1]:80", "six"),
        ("." * 300, "any"),
    ],
)
def test_hosts(host: str, name: str) -> None:
    table = make_table(
        {"name": "apex", "hosts": ["example.org"]},
        {"name": "below", "hosts": ["*.example.org"]},
        {"name": "six", "hosts": ["[::1]"]},
        {"name": "any"},
    )
    assert found(table, host=host) == name


def test_a_host_without_a_route_is_not_found() -> None:
    table = make_table({"hosts": ["a.example", "*.b.example"]})
    assert table.find("GET", "/", host="c.example") is NOT_FOUND


def test_one_route_may_have_several_hosts() -> None:
    table = make_table({"name": "x", "hosts": ["a.example", "b.example", "a.example"]})
    assert [found(table, host=host) for host in ("a.example", "b.example", "c.example")] == [
        "x", "x", None,
    ]  # fmt: skip
    assert len(table.routes()) == 1


@pytest.mark.parametrize("path", ["/a:b", "/a%3Ab"])
def test_no_spelling_of_reserved_characters_avoids_a_route(path: str) -> None:
    table = make_table(
        {"name": "exact", "path": "/a:b", "match": "exact"}, {"name": "all", "path": "/"}
    )
    assert found(table, path) == "exact"


@pytest.mark.parametrize("path", ["/admin;x/y", "/admin;x", "/admin;a=1;b=2/y"])
def test_no_path_parameter_avoids_a_route(path: str) -> None:
    table = make_table({"name": "admin", "path": "/admin"}, {"name": "rest", "path": "/"})
    assert found(table, path) == "admin"


def test_an_encoded_semicolon_is_data() -> None:
    table = make_table({"name": "item", "path": "/items/{id}"})
    assert table.find("GET", "/items/a%3Bb").params == {"id": "a;b"}


def test_finds_parameters_of_either_spelling() -> None:
    table = make_table({"path": "/{id}/{rest...}"})
    assert table.find("GET", "/a%3Ab%20c/d%2Fe").params == {"id": "a:b c", "rest": "d%2Fe"}


def test_params_of_a_route_without_are_empty_and_fixed() -> None:
    params = make_table({}).find("GET", "/").params
    assert params == {}
    with pytest.raises(TypeError):
        params["a"] = "b"  # type: ignore[index]


@pytest.mark.parametrize("path", ["*", "", "a", "a/b"])
def test_what_is_no_path_is_not_found(path: str) -> None:
    assert make_table({"path": "/"}, {"path": "/{x}"}).find("OPTIONS", path) is NOT_FOUND


def test_an_empty_table_finds_nothing() -> None:
    assert RouteTable([]).find("GET", "/", host="a") is NOT_FOUND


def test_a_wrong_method_is_told_all_that_would_match() -> None:
    table = make_table(
        {"name": "read", "path": "/a/{id}", "methods": ["GET"]},
        {"name": "write", "path": "/a/b", "match": "exact", "methods": ["PUT"]},
        {"name": "regex", "path": "/a/.", "match": "regex", "methods": ["PATCH"]},
        {"name": "host", "path": "/", "hosts": ["a.example"], "methods": ["LINK"]},
        {"name": "other-host", "path": "/", "hosts": ["b.example"], "methods": ["UNLINK"]},
        {"name": "unmet", "path": "/", "headers": {"X-A": "1"}, "methods": ["DELETE"]},
        {"name": "elsewhere", "path": "/b", "methods": ["POST"]},
        {"name": "priority", "path": "/", "priority": -1, "methods": ["COPY"]},
    )
    match = table.find("TRACE", "/a/b", host="a.example")
    assert match.route is None
    assert match.allowed == ("COPY", "GET", "HEAD", "LINK", "PATCH", "PUT")


def test_an_unmet_predicate_is_not_found_whatever_the_method() -> None:
    table = make_table({"headers": {"X-A": "1"}, "methods": ["POST"]})
    assert table.find("GET", "/") is NOT_FOUND


def test_get_routes_take_head() -> None:
    assert found(make_table({"methods": ["GET"]}), method="HEAD") == "root"


def test_methods_are_case_sensitive() -> None:
    assert make_table({"methods": ["GET"]}).find("get", "/").allowed == ("GET", "HEAD")


def test_routes_come_in_the_order_in_which_they_are_tried() -> None:
    table = make_table(
        {"name": "all"},
        {"name": "host", "hosts": ["a.example", "*.example"]},
        {"name": "literal", "path": "/a", "match": "exact"},
        {"name": "first", "priority": 1},
        {"name": "param", "path": "/{x}"},
        {"name": "regex", "path": "/a+", "match": "regex"},
        {"name": "last", "priority": -1, "path": "/a"},
    )
    assert [route.name for route in table.routes()] == [
        "first", "host", "literal", "regex", "param", "all", "last",
    ]  # fmt: skip
    assert repr(table) == "<7 routes>"


def test_explains_every_route() -> None:
    table = make_table(
        {"name": "chosen", "path": "/a/{x}"},
        {"name": "all"},
        {"name": "path", "path": "/b"},
        {"name": "method", "path": "/a/b", "methods": ["POST"]},
        {"name": "header", "path": "/a/b", "headers": {"X-A": "1"}},
        {"name": "query", "path": "/a/b", "query": {"v": "*"}},
        {"name": "host", "hosts": ["b.example"], "priority": 1},
    )
    verdicts = table.explain("GET", "/a/b", host="a.example", headers=Headers(), query="w=1")
    assert [(one.route.name, one.failed, one.chosen) for one in verdicts] == [
        ("header", "header X-A = '1'", False),
        ("query", "query v = '*'", False),
        ("method", "method", False),
        ("chosen", "", True),
        ("path", "path", False),
        ("all", "", False),
        ("host", "host", False),
    ]


def test_names_are_unique() -> None:
    with pytest.raises(ConfigError) as caught:
        make_table({"name": "a"}, {"name": "b"}, {"name": "a"}, {"name": "a"})
    assert [issue.key for issue in caught.value.issues] == ["routes[2].name", "routes[3].name"]


SEGMENTS = ["a", "b", "{p}", "{p:[ab]}", "{p:[a-z]}"]
SEGMENT_LISTS = st.lists(st.sampled_from(SEGMENTS), max_size=3)


@st.composite
def route_settings(draw: st.DrawFn) -> dict[str, Any]:
    segments = draw(SEGMENT_LISTS)
    match = draw(st.sampled_from(["prefix", "exact", "prefix", "exact", "regex"]))
    if match == "regex":
        path = draw(st.sampled_from(["/.*", "/a/.*", "/[ab]", "/a|/b/a"]))
    else:
        # Parameters need names of their own.
        parts = [part.replace("p", f"p{place}", 1) for place, part in enumerate(segments)]
        path = "/" + "/".join(parts + draw(st.sampled_from([[], [], ["{rest...}"]])))
    return {
        "path": path,
        "match": match,
        "methods": draw(st.sampled_from([[], [], ["GET"], ["POST"], ["GET", "PUT"]])),
        "hosts": draw(st.sampled_from([[], [], ["x.y"], ["*.y"], ["*.x.y", "y"]])),
        "headers": draw(st.sampled_from([{}, {}, {"X-A": "1"}, {"X-A": "*"}])),
        "query": draw(st.sampled_from([{}, {}, {"v": "1"}])),
        "priority": draw(st.sampled_from([0, 0, 0, 1, -1])),
    }


REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "HEAD", "POST", "TRACE"]),
        "path": st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=4).map(
            lambda parts: "/" + "/".join(parts)
        ),
        "host": st.sampled_from(["", "x.y", "z.x.y", "y", "other"]),
        "headers": st.sampled_from([None, Headers.of([("X-A", "1")]), Headers.of([("X-A", "2")])]),
        "query": st.sampled_from([None, "v=1", "v=2"]),
    }
)


@given(
    routes=st.lists(route_settings(), max_size=12),
    requests=st.lists(REQUESTS, min_size=1, max_size=8),
    seed=st.integers(),
)
@settings(deadline=None, max_examples=300)
def test_lookup_agrees_with_trying_every_route_in_order(
    routes: list[dict[str, Any]], requests: list[dict[str, Any]], seed: int
) -> None:
    made = [make_route(index=i, name=f"r{i}", **route) for i, route in enumerate(routes)]
    table = RouteTable(made)
    random.Random(seed).shuffle(made)
    shuffled = RouteTable(made)
    for request in requests:
        verdicts = table.explain(**request)
        chosen = [one.route for one in verdicts if one.chosen]
        refused = [one.route for one in verdicts if one.failed == "method"]
        match = table.find(**request)
        assert match == shuffled.find(**request)
        assert match.route is (chosen[0] if chosen else None)
        if match.route is None:
            assert set(match.allowed) == {m for one in refused for m in one.methods or ()}
        else:
            assert match.params == match.route.pattern.params(request["path"])


def test_ten_thousand_routes_are_found() -> None:
    routes = [make_route(f"/v1/things{i}/{{id}}", i, name=f"r{i}") for i in range(10_000)]
    table = RouteTable(routes)
    assert all(
        table.find("GET", f"/v1/things{i}/x").route is routes[i] for i in range(0, 10_000, 97)
    )
    assert table.warnings() == []


@pytest.mark.parametrize("place", ["method", "path", "host"])
def test_lookups_of_long_texts_are_not_remembered(place: str) -> None:
    """Clients choose all three, and thousands of them would be kept."""
    table = RouteTable([make_route("/")])
    for length in (10, 200):
        table.find(**{"method": "GET", "path": "/", "host": "a", place: "/" + "x" * length})
    assert len(table._remembered) == 1
