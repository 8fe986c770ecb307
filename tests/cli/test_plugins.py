from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Run


def test_list_has_all_kinds(run: Callable[..., Run]) -> None:
    plugins = {(one["kind"], one["name"]): one for one in run("plugins", "list", "--json").json()}
    cors = plugins["filter", "cors"]
    assert cors["value"] == "gatewayd_filters.cors:Cors"
    assert cors["distribution"].startswith("gatewayd ")
    assert ("discovery", "dns") in plugins
    assert ("balancer", "round_robin") in plugins
    assert ("authentication", "api_key") in plugins


def test_list_in_a_pipe_has_one_line_for_each(run: Callable[..., Run]) -> None:
    head, *lines = run("plugins", "list").out.splitlines()
    assert head.split() == ["kind", "name", "value", "distribution"]
    assert {len(line.split("  ")) >= 4 for line in lines} == {True}


def test_list_shows_a_name_that_is_defined_twice_twice(
    run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "other-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[gatewayd.filters]\ncors = other:Cors\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    lines = run("plugins", "list").out.splitlines()
    assert len([line for line in lines if line.split()[:2] == ["filter", "cors"]]) == 2
    assert "defined twice" in run("check").err


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("balancer", ["## filter balancer", "Needs `service`", "| `strategy` | string or table"]),
        ("dns", ["## discovery dns", "| `resolvers` | array of strings |"]),
        ("api_key", ["## authentication api_key", "`methods` of `auth`", "| `pepper` | string"]),
        ("p2c", ['`[filters.balancer.strategy]`, `name = "p2c"`', "| `decay` | number"]),
        ("round_robin", ["## balancer round_robin", 'name = "round_robin"', "in turn"]),
    ],
)
def test_show(run: Callable[..., Run], name: str, texts: list[str]) -> None:
    shown = run("plugins", "show", name).out
    for text in texts:
        assert text in shown


def test_show_as_json(run: Callable[..., Run]) -> None:
    (shown,) = run("plugins", "show", "balancer", "--json").json()
    assert (shown["requires"], shown["provides"]) == (["service"], ["instance"])
    assert shown["settings"]["properties"]["strategy"]["default"] == "round_robin"
    assert "settings" in run("plugins", "show", "static", "--json").json()[0]
    assert run("plugins", "show", "round_robin", "--json").json()[0]["kind"] == "balancer"
    (method,) = run("plugins", "show", "api_key", "--json").json()
    assert method["kind"] == "authentication"
    assert "pepper" in method["settings"]["properties"]


def test_show_of_an_unknown_name_tells_the_nearest(run: Callable[..., Run]) -> None:
    status, _, err = run("plugins", "show", "balancr")
    assert status == 1
    assert err == "no plugin 'balancr' is installed; did you mean 'balancer'?\n"
