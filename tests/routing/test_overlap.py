"""Warnings about routes that never match, or that only their names tell apart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.routing import make_table


def warned(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return what the second of two routes, in the order of their names, is warned about."""
    table = make_table(
        {"path": "/a", **first, "name": "r1"}, {"path": "/a", **second, "name": "r2"}
    )
    assert all(issue.key == "routes[1]" for issue in table.warnings())
    assert all("'r1'" in issue.message and "'r2'" in issue.message for issue in table.warnings())
    return ["never" if "never" in issue.message else "equal" for issue in table.warnings()]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({}, {}, id="the-same"),
        pytest.param({"path": "/{x}"}, {"path": "/{y}"}, id="other-names"),
        pytest.param({"path": "/a/{x...}"}, {}, id="rest-is-prefix"),
        pytest.param({"match": "exact"}, {"match": "exact"}, id="literal"),
        pytest.param(
            {"path": "/a+", "match": "regex"}, {"path": "/a+", "match": "regex"}, id="regex"
        ),
        pytest.param({"path": "/", "priority": 1}, {}, id="priority"),
        pytest.param({"path": "/", "priority": 1}, {"hosts": ["a.b"]}, id="priority-over-host"),
        pytest.param({"priority": 1, "path": "/{x}"}, {"match": "exact"}, id="param-over-literal"),
        pytest.param(
            {"priority": 1, "path": "/{x:a|b}/c"}, {"path": "/a/c"}, id="expression-over-literal"
        ),
        pytest.param(
            {"priority": 1, "path": "/{x}"}, {"path": "/{x:a}/{y}"}, id="param-over-expression"
        ),
        pytest.param(
            {"priority": 1, "hosts": ["*.b"]}, {"hosts": ["a.b", "*.c.b"]}, id="wildcard-over-hosts"
        ),
        pytest.param({"hosts": ["a.b", "c.d"]}, {"hosts": ["c.d"]}, id="more-hosts"),
        pytest.param({"methods": ["GET"]}, {"methods": ["GET", "HEAD"]}, id="get-is-head"),
        pytest.param({"priority": 1}, {"methods": ["GET"]}, id="all-methods"),
        pytest.param({"query": {"v": "*"}}, {"query": {"v": "*"}}, id="same-condition"),
        pytest.param(
            {"priority": 1, "headers": {"x-a": "*"}},
            {"headers": {"X-A": "1", "X-B": "1"}},
            id="wider-condition",
        ),
    ],
)
def test_a_route_that_another_always_wins_over_never_matches(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert warned(first, second) == ["never"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"methods": ["PUT", "POST"]}, {"methods": ["PUT", "COPY"]}, id="methods"),
        pytest.param({"headers": {"X-A": "1"}}, {"headers": {"X-B": "1"}}, id="conditions"),
        pytest.param({"headers": {"X-A": "1"}}, {"query": {"X-A": "1"}}, id="header-and-query"),
        pytest.param({"headers": {"X-A": "~a.*"}}, {"headers": {"X-A": "~.*b"}}, id="expressions"),
        pytest.param(
            {"hosts": ["a.b", "c.d"]}, {"hosts": ["c.d", "e.f"]}, id="some-hosts-in-common"
        ),
        pytest.param(
            {"hosts": ["a.b", "*.d"]}, {"hosts": ["a.b", "c.d"]}, id="more-specific-on-one-host"
        ),
    ],
)
def test_routes_that_only_their_names_tell_apart_are_ambiguous(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert warned(first, second) == ["equal"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"path": "/b"}, {}, id="other-path"),
        pytest.param({"path": "/a/b"}, {}, id="longer-prefix"),
        pytest.param({"match": "exact"}, {}, id="exact-and-prefix"),
        pytest.param({"path": "/{x}"}, {}, id="param-and-literal"),
        pytest.param({"path": r"/{x:\d+}"}, {"path": "/{x:[a-z]+}"}, id="expressions"),
        pytest.param({"hosts": ["a.b"]}, {}, id="host-and-all"),
        pytest.param({"hosts": ["a.b"]}, {"hosts": ["*.b"]}, id="host-and-wildcard"),
        pytest.param({"hosts": ["a.b"]}, {"hosts": ["c.b"]}, id="hosts"),
        pytest.param({"methods": ["GET"]}, {"methods": ["POST"]}, id="methods"),
        pytest.param({"methods": ["GET"]}, {}, id="method-and-all"),
        pytest.param({"headers": {"X-A": "1"}}, {"headers": {"X-A": "2"}}, id="values"),
        pytest.param({"headers": {"X-A": "1"}}, {}, id="condition-and-none"),
        pytest.param({"priority": 1, "path": "/a/b"}, {}, id="priority-of-a-part"),
        pytest.param({"priority": 1, "methods": ["GET"]}, {}, id="priority-of-a-method"),
        pytest.param({"priority": 1, "match": "exact"}, {}, id="priority-of-the-path-itself"),
        pytest.param(
            {"priority": 1, "path": "/{x}", "match": "exact"},
            {"path": "/{x}"},
            id="priority-of-the-template-itself",
        ),
        pytest.param(
            {"priority": 1, "methods": ["PUT", "POST"]},
            {"methods": ["PUT", "COPY"]},
            id="priority-decides",
        ),
        pytest.param(
            {"priority": 1, "path": "/{x:a|b}"}, {"path": "/c"}, id="expression-of-others"
        ),
        pytest.param(
            {"priority": 1, "path": "/{x:a+b}"},
            {"path": "/a+b"},
            id="literal-spelled-as-expression",
        ),
        pytest.param({"priority": -1, "path": "/"}, {}, id="lower-priority"),
    ],
)
def test_routes_that_complement_each_other_are_fine(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert warned(first, second) == []


def test_a_route_is_warned_about_once() -> None:
    table = make_table(*({"path": "/a", "name": f"r{i}"} for i in range(5)))
    assert [issue.key for issue in table.warnings()] == [f"routes[{i}]" for i in range(1, 5)]
