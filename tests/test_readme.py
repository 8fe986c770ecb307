"""README.md: its configuration can be used, and each command that stands below it works with it.

What a newcomer copies to try the sample is in tests/integration/test_examples.py.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gatewayd._version import __version__
from tests.support.process import free_port
from tests.support.servers import REPOSITORY, GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = (REPOSITORY / "README.md").read_text()
(CONFIG,) = re.findall(r"^```toml\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
(BELOW,) = re.findall(r"^```sh\n(gatewayd .*?)^```$", README, re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line, comments=True)[1:] for line in BELOW.splitlines()]
TESTED = [arguments for arguments in COMMANDS if arguments[0] != "serve"]
"""All but the one that every other is tested with."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the page's `gateway.toml`, where `gatewayd serve` runs."""
    local = CONFIG.replace("127.0.0.1:8002", f"127.0.0.1:{free_port()}")
    local = local.replace("https://id.example.org", f"http://127.0.0.1:{free_port()}")
    folder = tmp_path_factory.mktemp("readme")
    with GatewayProcess(local, folder):
        yield folder


def test_the_state_of_the_project_is_that_of_this_version() -> None:
    assert f"This is version {__version__}, a beta" in README


def test_all_commands_are_found() -> None:
    assert len(COMMANDS) == 6
    assert [arguments for arguments in COMMANDS if arguments[-2:] != ["-c", "gateway.toml"]] == []


@pytest.mark.parametrize("arguments", TESTED, ids=" ".join)
def test_a_command_works(arguments: list[str], folder: Path) -> None:
    ending = ["--interval", "0.1", "--count", "1"] if arguments[0] == "top" else []
    done = subprocess.run(
        [sys.executable, "-m", "gatewayd", *arguments, *ending],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
