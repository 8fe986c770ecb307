from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from gatewayd import Filter, FilterConfig
from gatewayd.registry import PluginError, Plugins, Registry

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "gatewayd.filters"


class Plain(Filter[FilterConfig]):
    name = "plain"


class Nameless(Filter[FilterConfig]):
    """Has no name."""


class Lenient(Filter[FilterConfig]):
    """Has settings that take every key."""

    name = "lenient"
    Config = BaseModel  # type: ignore[assignment]


NOT_A_CLASS = "plain"


def registry(**points: str) -> Registry[Filter[FilterConfig]]:
    return Registry(
        GROUP, Filter, [EntryPoint(name, value, GROUP) for name, value in points.items()]
    )


def test_a_plugin_is_found_by_its_name() -> None:
    plugins = registry(plain=f"{__name__}:Plain", absent="no_such_module:Absent")
    assert plugins.load("plain").__name__ == "Plain"
    assert plugins.load("plain") is plugins.load("plain")
    assert plugins.names == ["absent", "plain"]
    assert list(plugins) == ["absent", "plain"]
    assert "plain" in plugins
    assert "other" not in plugins


def test_only_what_is_asked_for_is_imported() -> None:
    module = "gatewayd_filters.maintenance_of_nobody"
    plugins = registry(plain=f"{__name__}:Plain", other=f"{module}:Other")
    plugins.load("plain")
    assert plugins.point("other").module == module
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plane", r"no plugin 'plane' in gatewayd.filters; did you mean 'plain'\?"),
        ("cache", r"no plugin 'cache' in gatewayd.filters \(installed: ab.*, plain\)"),
        ("absent", r"plugin 'absent' \(no_such_module:X, no distribution\) cannot be imported"),
        ("attribute", r"plugin 'attribute' .* cannot be imported: AttributeError"),
        ("instance", r"plugin 'instance' .* is not a subclass of Filter"),
        ("foreign", r"plugin 'foreign' .* is not a subclass of Filter"),
        ("other", r"plugin 'other' .* calls itself 'plain'"),
        ("nameless", r"plugin 'nameless' .* calls itself None"),
        ("lenient", r"plugin 'lenient' .*: its Config is not a subclass of FilterConfig"),
        ("leaving", r"plugin 'leaving' .* cannot be imported: SystemExit\(3\)"),
    ],
)
def test_what_cannot_be_used_says_why(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script_that_leaves.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = registry(
        plain=f"{__name__}:Plain",
        absent="no_such_module:X",
        attribute=f"{__name__}:Absent",
        instance=f"{__name__}:NOT_A_CLASS",
        foreign="collections:OrderedDict",
        other=f"{__name__}:Plain",
        nameless=f"{__name__}:Nameless",
        lenient=f"{__name__}:Lenient",
        leaving="script_that_leaves:X",
    )
    with pytest.raises(PluginError, match=message):
        plugins.load(name)


def test_two_plugins_of_one_name_are_fatal_when_it_is_used() -> None:
    points = [
        EntryPoint("plain", f"{__name__}:Plain", GROUP),
        EntryPoint("plain", "elsewhere:Plain", GROUP),
        EntryPoint("nameless", f"{__name__}:Nameless", GROUP),
    ]
    plugins = Registry(GROUP, Filter, points)
    with pytest.raises(PluginError, match=r"defined twice: .*:Plain .* and elsewhere:Plain"):
        plugins.load("plain")


def test_a_distribution_that_is_found_twice_defines_its_plugins_once() -> None:
    points = [EntryPoint("plain", f"{__name__}:Plain", GROUP)] * 2
    assert Registry(GROUP, Filter, points).load("plain").name == "plain"


def test_the_installed_plugins_are_those_of_this_environment() -> None:
    plugins = Plugins()
    for kind in (plugins.filters, plugins.discovery, plugins.balancers):
        assert kind.names == sorted({point.name for point in entry_points(group=kind.group)})
        assert [kind.load(name).name for name in kind.names] == kind.names
    assert {"route_match", "balancer", "upstream"} <= set(plugins.filters)


def test_what_is_installed_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Plugins().filters.names
    monkeypatch.setattr("gatewayd.registry.entry_points", lambda **_: EntryPoints())
    assert Plugins().filters.names == names


def test_it_is_looked_for_again_where_modules_come_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Plugins().filters.names
    about = tmp_path / "notes-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: notes\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\nnotes = notes:Notes\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert Plugins().filters.names == sorted([*names, "notes"])
