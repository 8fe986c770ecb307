"""API keys while a real database server is killed, away, and back."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.authentication import PEPPER
from tests.support.held_origin import HeldOrigin
from tests.support.servers import GatewayProcess, Process, free_port, require_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

CONFIG = """
[store]
url = "mysql://root@127.0.0.1:{database}/gatewayd"

[pipeline]
filters = ["ops", "route_match", "auth", "balancer", "upstream"]

[filters.auth.api_key]
pepper = "{pepper}"
on_outage = "{on_outage}"

[services.origin]
instances = [{{ url = "http://127.0.0.1:{origin}" }}]

[[routes]]
name = "all"
service = "origin"
"""
UNKNOWN = f"gw_{'0' * 16}_{'1' * 64}"
SOON = 20.0
"""Seconds: above the 10 for which what was seen counts as the present."""


class Database(Process):
    """MariaDB with an empty password, on a free port; started again it has what it had."""

    def __init__(self, folder: Path) -> None:
        data = folder / "mariadb"
        install = require_program("mariadb-install-db", package="mariadb-server")
        server = require_program("mariadbd", package="mariadb-server")
        # The user is who runs the tests; as root the server insists on being told.
        common = ["--no-defaults", f"--datadir={data}", "--user=root"]
        quiet = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([install, *common, *quiet], check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        listen = [f"--port={port}", f"--socket={folder}/mariadb.sock", "--bind-address=127.0.0.1"]
        command: list[str | Path] = [server, *common, *listen, "--innodb-buffer-pool-size=8M"]
        super().__init__(command, folder / "mariadb.log", port=port)

    def kill(self) -> None:
        """Let it end as in a crash."""
        self.signal(signal.SIGKILL)
        self.wait()


class World:
    """A database, an origin, and gateways before them."""

    def __init__(self, folder: Path, database: Database, origin: HeldOrigin) -> None:
        self.folder = folder
        self.database = database
        self._origin = origin

    def gateway(self, on_outage: str = "stale") -> GatewayProcess:
        text = CONFIG.format(
            database=self.database.port,
            origin=self._origin.server_port,
            pepper=PEPPER,
            on_outage=on_outage,
        )
        return GatewayProcess(text, self.folder)

    def run(self, *arguments: str) -> str:
        config = str(self.folder / "gateway.toml")
        command = [sys.executable, "-m", "gatewayd", *arguments, "-c", config]
        done = subprocess.run(
            command, cwd=self.folder, stdout=subprocess.PIPE, text=True, check=True
        )
        return str(done.stdout).strip()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Database(tmp_path) as database, HeldOrigin() as origin:
        world = World(tmp_path, database, origin)
        world.gateway()  # which writes the configuration
        world.run("init-db")
        yield world


def answer(gateway: GatewayProcess, key: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
    try:
        connection.request("GET", "/", headers={"X-API-Key": key})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_known_key_works_through_a_crash_of_the_database_and_after_it(world: World) -> None:
    key = world.run("keys", "create", "--owner", "shop")
    with world.gateway() as gateway:
        assert (answer(gateway, key), answer(gateway, UNKNOWN)) == (200, 401)
        world.database.kill()
        seen = set()

        def unknown_keys_cannot_be_judged() -> bool:
            seen.add(answer(gateway, key))
            return answer(gateway, UNKNOWN) == 503

        gateway.wait_for(unknown_keys_cannot_be_judged, "503 for an unknown key", SOON)
        world.database.start()
        gateway.wait_for(lambda: answer(gateway, UNKNOWN) == 401, "401 again", SOON)
        assert seen == {200}
        world.run("keys", "revoke", key.split("_")[1])
        gateway.wait_for(lambda: answer(gateway, key) == 401, "the revoked key is refused", 10)


def test_a_gateway_starts_without_the_database_from_its_last_snapshot(world: World) -> None:
    key = world.run("keys", "create", "--owner", "shop")
    with world.gateway() as gateway:
        assert answer(gateway, key) == 200
    world.database.kill()
    with world.gateway() as gateway:
        assert (answer(gateway, key), answer(gateway, UNKNOWN)) == (200, 503)
        world.database.start()
        gateway.wait_for(lambda: answer(gateway, UNKNOWN) == 401, "401 again", SOON)
        assert answer(gateway, key) == 200


def test_closed_answers_503_and_never_401_while_the_database_is_away(world: World) -> None:
    key = world.run("keys", "create", "--owner", "shop")
    with world.gateway("closed") as gateway:
        world.database.kill()
        gateway.wait_for(lambda: answer(gateway, key) == 503, "503", SOON)
        assert answer(gateway, UNKNOWN) == 503
        world.database.start()
        gateway.wait_for(lambda: answer(gateway, key) == 200, "200 again", SOON)
