from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gatewayd import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Run

COMMANDS = ["serve", "check", "routes", "plugins", "schema", "version"]


def test_help_lists_the_commands_with_what_they_do(run: Callable[..., Run]) -> None:
    shown = run("--help").out
    for command in COMMANDS:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"│ {command} ")]
        assert line.rstrip("│ ").endswith((".", "installed", "that"))
    assert "worker " not in shown


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["check"],
        ["routes", "list"],
        ["routes", "explain"],
        ["plugins", "list"],
        ["plugins", "show"],
        ["schema"],
        ["version"],
    ],
    ids=" ".join,
)
def test_every_command_and_option_has_help(run: Callable[..., Run], command: list[str]) -> None:
    status, shown, _ = run(*command, "--help")
    assert status == 0
    options = [line for line in shown.splitlines() if line.lstrip("│* ").startswith("--")]
    for line in options:
        assert len(line.strip("│ ").split("  ", 1)) == 2, line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--prot", "1"], "Did you mean --port?"),
        (["serve", "--port", "65536"], "Must be <= 65535"),
        (["serve", "--workers", "0"], "Must be >= 1"),
        (["serve", "--log-level", "loud"], "loud"),
        (["routes", "explain", "GET", "orders"], "expected /path or http://host/path"),
        (["routes", "explain", "G T", "/"], "expected a method"),
        (["routes", "explain", "GET", "/", "-H", "X-Beta"], "expected 'Name: value'"),
        (["check", "conf/gateway.toml"], "conf/gateway.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_line_is_status_2(
    run: Callable[..., Run], arguments: list[str], message: str
) -> None:
    status, out, err = run(*arguments)
    assert status == 2
    assert message in " ".join((out + err).replace("│", " ").split())


def test_a_missing_file_is_one_line_and_status_1(run: Callable[..., Run]) -> None:
    status, out, err = run("routes", "list", "-c", "nowhere.toml")
    assert (status, out) == (1, "")
    assert err == "nowhere.toml: cannot be read: No such file or directory\n"


def test_version(run: Callable[..., Run]) -> None:
    assert run("version").out.startswith(f"gatewayd {__version__}\npython 3.")
    assert run("version", "--json").json()["gatewayd"] == __version__
    assert run("--version").out == f"gatewayd {__version__}\n"


def test_the_command_line_is_imported_without_what_only_commands_need() -> None:
    code = "import sys, gatewayd.cli; print({'aiohttp', 'uvloop', 'rich', 'yaml'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m gatewayd schema | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.parametrize(
    ("redirection", "told"),
    [(">&-", ""), (">/dev/full", "the output cannot be written: No space left on device\n")],
    ids=["closed", "full"],
)
def test_output_that_cannot_be_written_is_no_traceback(redirection: str, told: str) -> None:
    command = f"{sys.executable} -m gatewayd plugins list {redirection}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (int(bool(told)), told)


def test_no_file_takes_the_place_of_a_closed_standard_output() -> None:
    code = "import os, sys, gatewayd.cli as c; c._open_standard_streams(); sys.exit(os.dup(0))"
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -c '{code}' >&-"], check=False, timeout=30
    )
    assert done.returncode > 2
