"""Real servers for tests: found on the machine, started on free ports, ended by pid.

A test whose server is not installed is skipped with the reason, and fails instead where
``GATEWAYD_TEST_REQUIRE=all`` is set, as CI does: there a skipped test would go unnoticed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.process import Process, ProcessError, children_of, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "GatewayProcess",
    "Nginx",
    "Process",
    "ProcessError",
    "find_program",
    "free_port",
    "require_program",
    "wait_until",
]

REPOSITORY = Path(__file__).parents[2]
"""Root of the source tree."""

SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"]
"""Where Debian puts servers; not on the PATH of ordinary users."""


def require_program(name: str, package: str) -> Path:
    """Return the path of a program that a test needs, or skip or fail the test without it.

    Args:
        name: Name of the executable.
        package: Debian package that has it, for the message.
    """
    found = find_program(name)
    if found:
        return found
    reason = f"{name} is not installed (Debian package {package})"
    if os.environ.get("GATEWAYD_TEST_REQUIRE") == "all":
        pytest.fail(f"{reason}, and GATEWAYD_TEST_REQUIRE=all allows no skipping", pytrace=False)
    pytest.skip(reason)


def find_program(name: str) -> Path | None:
    """Return the path of a program, None if it is nowhere.

    The virtual environment comes first, which need not be activated, then PATH.
    """
    path = os.environ.get("PATH", os.defpath)
    folders = [str(Path(sys.executable).parent), path, *SYSTEM_FOLDERS]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


class Nginx(Process):
    """nginx with one worker in the foreground, for its configuration's ``http`` block.

    Args:
        folder: Existing folder for the configuration, the log and temporary files.
        port: Port on which the ``http`` block listens; ready means that it accepts.
        http: Body of the ``http`` block.
        program: The nginx executable; required as for a test where absent.
        cores: Processor cores to run on; all where absent.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        http: str,
        *,
        program: Path | None = None,
        cores: set[int] | None = None,
    ) -> None:
        program = program or require_program("nginx", package="nginx-light")
        configuration = folder / "nginx.conf"
        configuration.write_text(self._main_block(folder, http))
        super().__init__(
            [program, "-p", folder, "-e", "stderr", "-c", configuration],
            folder / "nginx.log",
            port=port,
            cores=cores,
        )

    @staticmethod
    def _main_block(folder: Path, http: str) -> str:
        temporary = "\n".join(
            f"    {kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # As root nginx would give its worker to `nobody`, who cannot read a test's folder.
        user = "user root;" if os.geteuid() == 0 else ""
        return (
            f"{user}\nworker_processes 1;\ndaemon off;\npid {folder}/nginx.pid;\n"
            "error_log stderr warn;\n"
            "events { worker_connections 4096; }\n"
            f"http {{\n    access_log off;\n{temporary}\n{http}\n}}\n"
        )


class GatewayProcess(Process):
    """gatewayd as users run it: ``gatewayd serve -c FILE`` in a process of its own.

    Args:
        config: Text of the configuration, or the path of a file that is there already.
        folder: Existing folder for the configuration and the log.
        port: Port to listen on, given as ``--port``; a free one where absent.
        arguments: More arguments of ``gatewayd serve``.
        environment: Variables to add to this process's environment.
        cores: Processor cores to run on; all where absent.
    """

    def __init__(
        self,
        config: str | Path,
        folder: Path,
        *,
        port: int | None = None,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        cores: set[int] | None = None,
    ) -> None:
        port = free_port() if port is None else port
        if isinstance(config, str):
            self.config_file = folder / "gateway.toml"
            self.config_file.write_text(config)
        else:
            self.config_file = config
        serve = ["-m", "gatewayd", "serve", "-c", str(self.config_file), "--port", str(port)]
        super().__init__(
            [sys.executable, *serve, *arguments],
            folder / "gatewayd.log",
            port=port,
            environment={**os.environ, **(environment or {})},
            directory=folder,
            cores=cores,
        )

    @property
    def url(self) -> str:
        """Base URL of the public listener."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def worker_pids(self) -> list[int]:
        """Pids of the worker processes; the process itself where it supervises none."""
        return children_of(self.pid) or [self.pid]

    def reload(self, config: str | None = None) -> None:
        """Send SIGHUP, after replacing the configuration file's text where one is given.

        Returns at once: wait for what the new configuration changes, with `wait_for`.
        """
        if config is not None:
            self.config_file.write_text(config)
        self.signal(signal.SIGHUP)
