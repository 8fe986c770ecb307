"""Processes of tests are started, waited for and ended without leaving anything behind."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.process import Process, ProcessError, accepts, children_of, free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

LISTENER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""

IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""

PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(600)
"""


def python(folder: Path, code: str, *arguments: str, port: int = 0) -> Process:
    return Process([sys.executable, "-c", code, *arguments], folder / "log", port=port)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_started_means_that_the_port_accepts(tmp_path: Path) -> None:
    port = free_port()
    with python(tmp_path, LISTENER, str(port), port=port) as process:
        assert accepts(port)
        assert process.running
    assert not accepts(port)


def test_start_fails_with_the_output_of_a_process_that_ends_early(tmp_path: Path) -> None:
    process = python(tmp_path, "raise SystemExit('no such key')", port=free_port())
    with pytest.raises(ProcessError, match="no such key"):
        process.start()


def test_start_fails_where_another_process_has_the_port(tmp_path: Path) -> None:
    port = free_port()
    with python(tmp_path, LISTENER, str(port), port=port):
        second = python(tmp_path, LISTENER, str(port), port=port)
        with pytest.raises(ProcessError, match=f"port {port} is taken"):
            second.start()


def test_start_leaves_no_process_that_does_not_become_ready(tmp_path: Path) -> None:
    process = python(tmp_path, "import time; time.sleep(600)", port=free_port())
    with pytest.raises(ProcessError, match="accepts"):
        process.start(seconds=0.1)
    assert not process.running


def test_stop_kills_a_process_that_ignores_sigterm(tmp_path: Path) -> None:
    process = python(tmp_path, IGNORES_SIGTERM)
    process.start()
    process.wait_for(lambda: "deaf" in process.log, "the handler")
    assert process.stop(seconds=0.1) == -signal.SIGKILL


def test_stop_ends_the_children_that_a_killed_process_left(tmp_path: Path) -> None:
    process = python(tmp_path, PARENT)
    process.start()
    process.wait_for(lambda: bool(children_of(process.pid)), "a child")
    (child,) = children_of(process.pid)
    process.signal(signal.SIGKILL)
    process.stop()
    wait_until(lambda: not exists(child), 5, "the child's end")


def test_a_program_that_is_not_there_is_a_process_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="no-such-program"):
        Process(["no-such-program"], tmp_path / "log").start()
