"""The example plugin, as a user gets it: installed by pip into an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import threading
import urllib.error
import urllib.request
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.support.process import Process, free_port
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLUGIN = REPOSITORY / "plugins" / "gatewayd-example"
CONFIG = """
[pipeline]
filters = ["request_id", "route_match", "maintenance", "balancer", "upstream"]

[[routes]]
name = "closed"
path = "/closed"
service = "origin"
filters.maintenance = {{ active = true, retry_after = 600 }}

[[routes]]
name = "open"
service = "origin"

[services.origin]
instances = [{{ url = "http://127.0.0.1:{port}" }}]
"""


class Environment:
    """A virtual environment with gatewayd and the plugin, and what they depend on from this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        venv.create(folder, with_pip=False)
        wheels = folder / "wheels"
        for project in (REPOSITORY, PLUGIN):
            self._pip("wheel", "--no-build-isolation", "--wheel-dir", wheels, project)
        # Before the dependencies are visible: this environment's own gatewayd is among them, and
        # pip would find nothing to do.
        self._pip("--python", self.python, "install", *sorted(wheels.glob("*.whl")))
        own = sysconfig.get_path("purelib", vars={"base": folder, "platbase": folder})
        packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        # A line of a .pth file adds a folder, and does not read the .pth files in there; so the
        # editable gatewayd of this environment stays invisible.
        (self.folder / own / "dependencies.pth").write_text("\n".join(sorted(packages)) + "\n")

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def gatewayd(self) -> Path:
        return self.folder / "bin" / "gatewayd"

    def _pip(self, command: str, *arguments: object) -> None:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        self.run(*pip, command, *map(str, arguments), "--no-deps", "--no-index")

    def run(self, *command: object) -> str:
        """Run a command outside the repository; return what it prints."""
        clean = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(part) for part in command],
            env=clean | {"PYTHONDONTWRITEBYTECODE": "1"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("second") / "environment")


@pytest.fixture(scope="module")
def origin() -> Iterator[int]:
    """Serve `origin` for every GET; the port is the fixture's value."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"origin")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def gateway(environment: Environment, origin: int, tmp_path: Path) -> Iterator[str]:
    """Run the second environment's gateway; the base URL is the fixture's value."""
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG.format(port=origin))
    port = free_port()
    command = [environment.gatewayd, "serve", "-c", config, "--port", str(port)]
    with Process(command, tmp_path / "gatewayd.log", port=port, directory=tmp_path):
        yield f"http://127.0.0.1:{port}"


def test_both_come_from_the_second_environment(environment: Environment) -> None:
    code = "import gatewayd, gatewayd_example as e; print(gatewayd.__file__); print(e.__file__)"
    for path in environment.run(environment.python, "-c", code).split():
        assert path.startswith(str(environment.folder))


def test_gatewayd_lists_the_plugin(environment: Environment) -> None:
    plugins = json.loads(environment.run(environment.gatewayd, "plugins", "list", "--json"))
    (plugin,) = [one for one in plugins if one["name"] == "maintenance"]
    assert plugin["kind"] == "filter"
    assert plugin["value"] == "gatewayd_example.maintenance:Maintenance"
    assert plugin["distribution"].startswith("gatewayd-example")


def test_the_plugin_refuses_in_a_running_gateway(gateway: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{gateway}/closed/1")
    with caught.value as response:
        assert (response.code, response.headers["Retry-After"]) == (503, "600")
        assert json.load(response)["code"] == "maintenance"


def test_the_plugin_lets_other_routes_pass(gateway: str) -> None:
    with urllib.request.urlopen(f"{gateway}/open") as response:
        assert (response.status, response.read()) == (200, b"origin")


def test_the_plugin_s_own_tests_pass(environment: Environment) -> None:
    environment.run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN)
