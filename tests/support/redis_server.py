"""Redis started by the suite: alone, or as a cluster of three masters; ended by pid."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.support.process import Process, free_port, wait_until
from tests.support.servers import require_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class RedisServer(Process):
    """A server on a free port of 127.0.0.1, which keeps nothing on disk.

    Args:
        folder: Existing folder for its log.
        options: Further options of ``redis-server``.

    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        program = require_program("redis-server", package="redis-server")
        port = free_port()
        super().__init__(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", folder, *options],
            folder / f"redis-{port}.log",
            port=port,
        )  # fmt: skip

    @property
    def url(self) -> str:
        """What ``redis.url`` is to be."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cli(self, *arguments: str) -> str:
        """Run ``redis-cli``; return what it prints."""
        program = require_program("redis-cli", package="redis-tools")
        done = subprocess.run(
            [program, "-h", "127.0.0.1", "-p", str(self.port), *arguments],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        return done.stdout.strip()


class Sentinel(Process):
    """A Sentinel that watches the master ``main``, and decides alone after half a second.

    Args:
        folder: Existing folder for its configuration, which it rewrites.
        master: Port of the master.

    """

    def __init__(self, folder: Path, master: int) -> None:
        program = require_program("redis-server", package="redis-server")
        port = free_port()
        file = folder / "sentinel.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor main 127.0.0.1 {master} 1\n"
            "sentinel down-after-milliseconds main 500\n"
            "sentinel failover-timeout main 3000\n"
        )
        super().__init__([program, file, "--sentinel"], folder / "sentinel.log", port=port)

    def knows_a_replica(self) -> bool:
        """Whether it has found one, and it is in order."""
        program = require_program("redis-cli", package="redis-tools")
        done = subprocess.run(
            [program, "-p", str(self.port), "sentinel", "replicas", "main"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        return "master-link-status\nok" in done.stdout


class RedisCluster:
    """Three masters that share the slots.

    Args:
        folder: Existing folder for their files.

    Attributes:
        nodes: The servers.

    """

    def __init__(self, folder: Path) -> None:
        self.nodes = []
        for number in range(3):
            own = folder / str(number)
            own.mkdir()
            # The bus is on the port + 10000 otherwise, which may be taken or above 65535.
            options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
                       "--cluster-port", str(free_port())]  # fmt: skip
            self.nodes.append(RedisServer(own, options))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._stack.enter_context(node)
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        self.nodes[0].cli("--cluster", "create", *addresses, "--cluster-yes")
        wait_until(
            lambda: all("cluster_state:ok" in node.cli("cluster", "info") for node in self.nodes),
            30,
            "the cluster is in order",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """What ``redis.url`` is to be."""
        return self.nodes[0].url
