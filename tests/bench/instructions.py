"""How many instructions of the processor something takes, as valgrind's callgrind counts them.

valgrind translates a program and counts what it executes, the kernel's part not included. Neither
a busy machine nor a slow one changes that, as it does every measure of time. The program takes
fifty times as long, so what all workloads need is imported once; each then runs in forks.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.bench.peers import needed
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TIMEOUT = 600.0
"""Seconds for one workload, some fifty times what it takes on an idle machine."""

_COLLECTED = re.compile(r"^==(\d+)== Collected : (\d+)$", re.MULTILINE)
_TAIL_LINES = 20
_FORK = multiprocessing.get_context("fork")


class CountError(Exception):
    """The instructions could not be counted; the text has the end of the program's output."""


def run_in_forks(
    run: Callable[[str, int], None], names: Iterable[str], few: int, many: int
) -> None:
    """Run workloads in pairs of forks, and print who was who; for `per_exchange`.

    Args:
        run: Makes so many exchanges of the workload of this name.
        names: The workloads.
        few: Exchanges in one of the forks.
        many: Exchanges in the other.

    Raises:
        SystemExit: A workload failed.
    """
    pids = {}
    for name in names:
        # Daemons do not outlive this process.
        pair = [_FORK.Process(target=run, args=(name, n), daemon=True) for n in (few, many)]
        for process in pair:
            process.start()
        for process in pair:
            process.join(TIMEOUT)
            if process.exitcode is None:
                sys.exit(f"{name} took more than {TIMEOUT:g} s")
            if process.exitcode:
                sys.exit(f"{name} failed")
        pids[name] = [process.pid for process in pair]
    print(json.dumps({"pids": pids, "exchanges": many - few}))


def per_exchange(module: str) -> dict[str, int]:
    """Return the instructions of one exchange in each workload of a module.

    Args:
        module: Calls `run_in_forks` where it is the main module.

    Raises:
        MissingError: valgrind is not installed.
        CountError: A workload failed, or valgrind did.
    """
    program = needed("valgrind", "Debian package valgrind")
    callgrind = [str(program), "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*callgrind, sys.executable, "-m", module],
        cwd=REPOSITORY,
        # What a dict takes depends on its hashes. And what one fork compiles, the other one of the
        # pair must not find.
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise CountError(f"{module} ended with status {done.returncode}:\n{_tail(done.stderr)}")
    return differences(done.stdout, done.stderr)


def differences(stdout: str, stderr: str) -> dict[str, int]:
    """Return the instructions of one exchange in each workload: start and end cancel.

    Args:
        stdout: What `run_in_forks` printed.
        stderr: What valgrind printed for each process.

    Raises:
        CountError: valgrind has not counted a process.
    """
    totals = {int(pid): int(count) for pid, count in _COLLECTED.findall(stderr)}
    told = json.loads(stdout)
    found = {}
    for name, (few, many) in told["pids"].items():
        if few not in totals or many not in totals:
            raise CountError(f"valgrind has not counted {name}:\n{_tail(stderr)}")
        found[name] = (totals[many] - totals[few]) // told["exchanges"]
    return found


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
