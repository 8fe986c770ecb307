"""The tree's worst cases, counted in lines that run instead of in time."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

from gatewayd.routing import tree
from gatewayd.routing.tree import PathTable
from tests.support.routing import make_route

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def lines_run(call: Callable[[], object]) -> int:
    """Count the lines of the tree's module that a call runs."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != tree.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def make_paths(*paths: str) -> PathTable:
    routes = [make_route(path, name=f"r{i}", match="exact") for i, path in enumerate(paths)]
    table = PathTable()
    for route in sorted(routes, key=lambda route: route.order):
        table.add(route)
    return table


def work(table: PathTable, path: str) -> int:
    return lines_run(lambda: list(table.candidates(path)))


def test_segments_below_the_deepest_pattern_cost_nothing() -> None:
    table = make_paths("/{a}/{b}", "/a/{b...}")
    assert work(table, "/a" * 4000) == work(table, "/a" * 4)


def test_a_path_is_split_no_further_than_patterns_reach() -> None:
    limits = []

    class Path(str):
        __slots__ = ()

        def split(self, sep: str | None = None, maxsplit: int = -1) -> list[str]:  # type: ignore[override]
            limits.append(maxsplit)
            return super().split(sep, maxsplit)

    list(make_paths("/{a}/b").candidates(Path("/a" * 4000)))
    assert limits == [3]


def test_other_routes_cost_nothing() -> None:
    few = [f"/api/things{i}/{{id}}" for i in range(2)]
    many = [f"/api/things{i}/{{id}}" for i in range(2000)]
    path = "/api/things1/42"
    assert work(make_paths(*many), path) == work(make_paths(*few), path)


def test_going_back_visits_no_node_twice() -> None:
    # Every mix of a literal and a parameter on eight levels: the worst that can be configured. The
    # path fits everywhere but at its end, so that all of them are tried.
    depth = 8
    paths = [
        "/" + "/".join("a" if literal else f"{{p{i}}}" for i, literal in enumerate(mix)) + "/z"
        for mix in itertools.product([True, False], repeat=depth)
    ]
    nodes = 2 ** (depth + 2)
    assert work(make_paths(*paths), "/a" * depth + "/x") < 10 * nodes


def test_a_path_of_repeats_does_not_multiply() -> None:
    table = make_paths(*("/" + "/".join(f"{{p{i}}}" for i in range(n)) + "/z" for n in range(1, 9)))
    assert work(table, "/a" * 4000) < 200
