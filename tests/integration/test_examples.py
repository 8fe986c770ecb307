"""The commands that a newcomer copies work: those of README, and those that `make run` prints.

The sample has the ports of `conf/gateway.toml`, as for anybody; it fails where they are taken.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.process import Process, children_of, wait_until
from tests.support.servers import REPOSITORY, require_program

if TYPE_CHECKING:
    from collections.abc import Iterator

CURL = re.compile(r"^ *curl (.*)$", re.MULTILINE)
OPTIONS = ["--fail", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Process]:
    """What `make run` runs, with this environment's Python."""
    script = REPOSITORY / "scripts" / "run_sample.py"
    with Process([sys.executable, script], tmp_path / "sample.log") as sample:
        sample.wait_for_log("Ctrl-C ends it all")
        yield sample


def curls_in(text: str) -> list[list[str]]:
    """Return the arguments of each curl command of a text; a command is a line."""
    return [shlex.split(arguments) for arguments in CURL.findall(text)]


def run_curl(arguments: list[str]) -> str:
    """Return what a curl command prints; it must get an answer that is no error."""
    curl = require_program("curl", package="curl")
    command = [str(curl), *OPTIONS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def test_the_curls_that_the_sample_prints_reach_an_origin(sample: Process) -> None:
    hello, item, health = map(run_curl, curls_in(sample.log))
    assert json.loads(hello)["path"] == "/hello?name=you"
    assert json.loads(item)["path"] == "/v1/items/42"
    assert json.loads(item)["body"] == "some data"
    assert health.startswith("HTTP/1.1 200 OK")


def test_the_curls_of_the_readme_work(sample: Process) -> None:
    text = (REPOSITORY / "README.md").read_text()
    (create,) = re.findall(r"^key=\$\(.venv/bin/gatewayd (.*)\)$", text, re.MULTILINE)
    made = subprocess.run(
        [sys.executable, "-m", "gatewayd", *shlex.split(create)],
        cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    commands = curls_in(text.replace("$key", made.stdout.strip()))
    assert len(commands) == 4
    *_, with_key = commands
    # The running gateway learns of a new key within some seconds.
    wait_until(lambda: subprocess.run(
        [require_program("curl", package="curl"), *OPTIONS, *with_key],
        capture_output=True, check=False, timeout=60,
    ).returncode == 0, 20, "the key is known")  # fmt: skip
    for command in commands:
        assert run_curl(command)


def test_ctrl_c_ends_the_sample_with_all_its_processes(sample: Process) -> None:
    gateway_and_origins = children_of(sample.pid)
    assert len(gateway_and_origins) == 3
    sample.signal(signal.SIGINT)
    assert sample.wait() == 0
    assert [pid for pid in gateway_and_origins if Path(f"/proc/{pid}").exists()] == []
