"""Child processes of the tests and of the benchmark: started, watched and ended by pid.

Output goes to a file, because a pipe that nobody reads stops its writer after 64 KiB. Every wait is
bounded, and a wait that runs out says what the process had printed by then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

START_SECONDS = 15.0
"""Time for a server to accept connections: generous, since CI machines are small and shared."""

STOP_SECONDS = 10.0
"""Time between SIGTERM and SIGKILL."""


class ProcessError(Exception):
    """A process ended early, or did not do what was waited for in time."""


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return as soon as the condition holds.

    Raises:
        ProcessError: It did not hold within this time; the text says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ProcessError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Tell whether a server on 127.0.0.1 accepts connections on this port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def children_of(pid: int) -> list[int]:
    """Return the pids of the children of a process, in order; not those of their children.

    Reads every ``/proc/PID/stat``, since ``/proc/PID/task/PID/children`` is missing from kernels
    built without CONFIG_PROC_CHILDREN.
    """
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            # The name, second and in parentheses, may itself hold spaces and parentheses.
            after_name = stat.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == pid:
                children.append(int(stat.parent.name))
    return sorted(children)


class Process:
    """A child process with its output in a file; a context manager that ends it.

    Args:
        command: Program and arguments.
        log_file: Where standard output and standard error go.
        port: TCP port on which 127.0.0.1 accepts once the process is ready; 0 where it has none.
        environment: The whole environment; this process's own where absent.
        directory: Working directory; this process's own where absent.
        cores: Processor cores to run on, its children too; all where absent.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log_file: Path,
        *,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        cores: set[int] | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        if cores is not None:
            core_list = ",".join(map(str, sorted(cores)))
            self.command = ["taskset", "--cpu-list", core_list, *self.command]
        self.log_file = log_file
        self.port = port
        self._environment = environment
        self._directory = directory
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self.command)}>"

    @property
    def pid(self) -> int:
        """The process's pid; ``taskset`` keeps it, as it replaces itself by the program."""
        if self._child is None:
            raise ProcessError(f"not started: {self}")
        return self._child.pid

    @property
    def log(self) -> str:
        """What the process has printed up to now."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self, seconds: float = START_SECONDS) -> None:
        """Start the process, and return once it accepts connections if it has a port.

        It gets a session of its own, so that a terminal's ctrl-C does not reach it.

        Raises:
            ProcessError: The program cannot be run, its port is taken, it ended, or time ran out;
                nothing is left running then.
        """
        if self.port and accepts(self.port):
            raise ProcessError(f"port {self.port} is taken by another process: {self}")
        try:
            self._spawn()
            if self.port:
                self.wait_for(lambda: accepts(self.port), f"port {self.port} accepts", seconds)
        except BaseException:
            self.stop()
            raise

    def _spawn(self) -> None:
        with self.log_file.open("wb") as output:
            try:
                self._child = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._directory,
                    start_new_session=True,
                )
            except OSError as error:
                raise ProcessError(f"cannot run {self.command[0]}: {error}") from error

    def wait_for(
        self, condition: Callable[[], bool], what: str, seconds: float = START_SECONDS
    ) -> None:
        """Return as soon as the condition holds while the process runs.

        Raises:
            ProcessError: The process ended, or time ran out; its output is part of the text.
        """

        def met_or_ended() -> bool:
            return condition() or not self.running

        try:
            wait_until(met_or_ended, seconds, what)
        except ProcessError as error:
            raise ProcessError(f"{error}\n{self}\n{self.log}") from None
        if not self.running:
            raise ProcessError(f"ended before {what}\n{self}\n{self.log}")

    def wait_for_log(self, text: str, seconds: float = START_SECONDS) -> None:
        """Return as soon as the process has printed this text."""
        self.wait_for(lambda: text in self.log, f"output {text!r}", seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; it must be running."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Return the exit status once the process has ended; negative after a signal.

        Raises:
            ProcessError: It still runs after this time.
        """
        if self._child is None:
            raise ProcessError(f"not started: {self}")
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"still running after {seconds:g} s: {self}\n{self.log}") from None

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """End the process with SIGTERM, after this time with SIGKILL, and return its exit status.

        A process that was never started has status 0, so that a failed start needs no special case.
        """
        if self._child is None:
            return 0
        if self.running:
            self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        except ProcessError:
            self.signal(signal.SIGKILL)
            return self.wait(seconds)
        finally:
            # Orphans, left by SIGKILL here or by a test, would keep the port: the session goes too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
