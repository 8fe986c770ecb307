"""What the distribution puts on a user's machine: two packages, no more, also when editable."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def build(hook: str, folder: Path) -> Path:
    """Return the wheel that a hook of the build backend (PEP 517, PEP 660) makes."""
    code = f"import sys; from hatchling.build import {hook} as build; build(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, folder], cwd=REPOSITORY, check=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of the wheel's files, by path."""
    with zipfile.ZipFile(build("build_wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def entry_points(wheel: dict[str, str]) -> ConfigParser:
    (text,) = [wheel[path] for path in wheel if path.endswith(".dist-info/entry_points.txt")]
    parser = ConfigParser(delimiters="=")
    parser.read_string(text)
    return parser


def test_wheel_holds_two_packages_and_nothing_else(wheel: dict[str, str]) -> None:
    folders = {path.partition("/")[0] for path in wheel}
    assert {name for name in folders if not name.endswith(".dist-info")} == {
        "gatewayd",
        "gatewayd_filters",
    }


@pytest.mark.parametrize("package", ["gatewayd", "gatewayd_filters"])
def test_wheel_tells_type_checkers_that_it_is_typed(wheel: dict[str, str], package: str) -> None:
    assert f"{package}/py.typed" in wheel


@pytest.mark.parametrize(
    "group", ["console_scripts", "gatewayd.filters", "gatewayd.discovery", "gatewayd.balancers"]
)
def test_entry_points_of_the_wheel_lead_to_modules_in_it(wheel: dict[str, str], group: str) -> None:
    for reference in dict(entry_points(wheel)[group]).values():
        module = reference.partition(":")[0].replace(".", "/")
        assert f"{module}.py" in wheel or f"{module}/__init__.py" in wheel, reference


def test_editable_install_makes_no_folder_of_the_repository_importable(tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(build("build_editable", tmp_path)) as editable:
        editable.extractall(site)
    code = (
        "import importlib.util, site, sys\n"
        f"site.addsitedir({str(site)!r})\n"
        "for name in sys.argv[1:]: print(name, importlib.util.find_spec(name) is not None)"
    )
    names = ["gatewayd", "gatewayd_filters", "conf", "filters", "plugins", "scripts", "tests"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    importable = [line.split()[0] for line in done.stdout.splitlines() if line.endswith("True")]
    assert importable == ["gatewayd", "gatewayd_filters"]
