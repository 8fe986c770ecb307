"""MariaDB started by the suite: a data folder of its own, a free port, ended by pid."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.support.process import Process, free_port
from tests.support.servers import require_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

USER, PASSWORD = "gateway", "a p@ss/word"
URL_PASSWORD = "a%20p%40ss%2Fword"


class MariaDb(Process):
    """A server with a user who may do anything, on a free port of 127.0.0.1.

    Args:
        folder: Existing folder for data, socket and log.
        options: Further options of ``mariadbd``.

    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        program = require_program("mariadbd", package="mariadb-server")
        install = require_program("mariadb-install-db", package="mariadb-server")
        data = folder / "data"
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        common = ["--no-defaults", f"--datadir={data}", *as_root]
        setup = folder / "setup.sql"
        setup.write_text(
            "FLUSH PRIVILEGES;\n"
            f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
        )
        subprocess.run(
            [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db",
             f"--extra-file={setup}"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        small = ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M",
                 "--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve",
                 "--performance-schema=OFF"]  # fmt: skip
        port = free_port()
        super().__init__(
            [program, *common, "--bind-address=127.0.0.1", f"--port={port}",
             f"--socket={folder}/socket", f"--pid-file={folder}/pid",
             *small, *options],
            folder / "mariadb.log",
            port=port,
        )  # fmt: skip

    def start(self, seconds: float = 60.0) -> None:
        """Start it; a second time, with the data of the first."""
        super().start(seconds)

    def url(self, database: str, port: int | None = None) -> str:
        """Return the URL of a database, for ``store.url``."""
        return f"mysql://{USER}:{URL_PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def client(self, text: str, database: str = "") -> str:
        """Run statements with the command-line client; return what it prints."""
        program = require_program("mariadb", package="mariadb-client")
        login = [f"--user={USER}", f"--password={PASSWORD}", f"--port={self.port}"]
        done = subprocess.run(
            [program, "--no-defaults", "--host=127.0.0.1", "--protocol=tcp", *login, "--batch",
             *([database] if database else [])],
            input=text, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout
