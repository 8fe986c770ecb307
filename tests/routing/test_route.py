"""Routes: what is compiled of their settings, and the errors that name the key."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gatewayd import ConfigError
from tests.support.routing import make_route


@pytest.mark.parametrize(
    ("methods", "compiled"),
    [
        ([], None),
        (["GET"], {"GET", "HEAD"}),
        (["POST"], {"POST"}),
        (["HEAD"], {"HEAD"}),
        (["GET", "PURGE"], {"GET", "HEAD", "PURGE"}),
    ],
)
def test_get_includes_head(methods: list[str], compiled: set[str] | None) -> None:
    assert make_route("/", methods=methods).methods == compiled


def test_a_single_service_is_picked() -> None:
    assert make_route("/", service="origin").pick_service() == "origin"


def test_services_are_picked_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    route = make_route(
        "/",
        service=[
            {"name": "stable", "weight": 95},
            {"name": "off", "weight": 0},
            {"name": "canary", "weight": 5},
        ],
    )
    points = iter([share / 100 for share in range(100)])
    monkeypatch.setattr("random.random", lambda: next(points))
    picked = Counter(route.pick_service() for _ in range(100))
    assert picked == {"stable": 95, "canary": 5}


def test_every_service_of_a_random_pick_exists() -> None:
    route = make_route("/", service=[{"name": "a", "weight": 1}, {"name": "b", "weight": 1}])
    assert {route.pick_service() for _ in range(200)} == {"a", "b"}


def test_what_is_no_redirect_has_no_location() -> None:
    with pytest.raises(ValueError, match="no redirect"):
        make_route("/").redirect_location("/", {}, None)


def test_its_repr_names_it() -> None:
    assert repr(make_route("/a", name="some")) == "<route some: /a>"


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"path": "a"}, ["path"]),
        ({"path": "(", "match": "regex"}, ["path"]),
        ({"hosts": ["a:80"]}, ["hosts"]),
        ({"headers": {"X-A": "1", "X B": "1", "X-C": "~("}}, ["headers.X B", "headers.X-C"]),
        ({"query": {"v": "~("}}, ["query.v"]),
        ({"service": []}, ["service"]),
        ({"service": [{"name": "a", "weight": 0}]}, ["service"]),
        ({"path": "a", "hosts": ["*"], "query": {"v": "~("}}, ["query.v", "hosts", "path"]),
        ({"rewrite": {"prefix": "a"}}, ["rewrite"]),
        ({"redirect": {"to": "a"}}, ["redirect"]),
    ],
)
def test_errors_name_every_key_that_is_wrong(settings: dict[str, Any], keys: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_route(index=7, name="x", **settings)
    assert [issue.key for issue in caught.value.issues] == [f"routes[7].{key}" for key in keys]
