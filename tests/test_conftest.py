"""The suite's own safeguards: a leaked task fails its test, a missing program is never silent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

ASYNC_TESTS = """
import asyncio, pytest

@pytest.fixture
async def closed_by_its_fixture():
    task = asyncio.create_task(asyncio.sleep(3600))
    yield
    task.cancel()

async def test_tidy(closed_by_its_fixture):
    assert type(asyncio.get_running_loop()).__module__ == "uvloop"

async def test_ending():
    asyncio.create_task(asyncio.sleep(0))

async def test_leaking():
    global kept
    kept = asyncio.create_task(asyncio.sleep(3600), name="forgotten")
"""

MISSING_PROGRAM = """
from tests.support.servers import require_program

def test_needs_it():
    require_program("no-such-program", package="no-such-package")
"""


def run_pytest(tests: str, folder: Path, **environment: str) -> str:
    """Run these tests under this suite's conftest, and return what pytest prints."""
    file = folder / "test_inner.py"
    file.write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", REPOSITORY / "pyproject.toml", "--rootdir", folder, file],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout


def test_only_the_test_that_leaks_a_task_fails(tmp_path: Path) -> None:
    output = run_pytest(ASYNC_TESTS, tmp_path)
    assert "test_inner.py::test_leaking" in output
    assert "name='forgotten'" in output
    assert "3 passed, 1 error" in output


@pytest.mark.parametrize(
    ("required", "outcome"), [("", "1 skipped"), ("all", "1 failed")], ids=["skipped", "failed"]
)
def test_missing_program(tmp_path: Path, required: str, outcome: str) -> None:
    output = run_pytest(MISSING_PROGRAM, tmp_path, GATEWAYD_TEST_REQUIRE=required)
    assert outcome in output
    assert "no-such-program is not installed (Debian package no-such-package)" in output
