"""Nodes with an admin API, for whoever only looks at them and for whoever changes them."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.process import free_port
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONFIG = """
[server]
workers = {workers}

[admin]
listen = "127.0.0.1:{admin}"

[filters.auth]
required = false

[filters.access_log]
path = "{folder}/access.log"

[filters.breaker]
consecutive_failures = 1
open_for = 3600

[filters.retry]
attempts = 1

[services.origin]
instances = [{{ url = "http://127.0.0.1:{origin}" }}]

[services.away]
instances = [{{ url = "http://127.0.0.1:{away}" }}]

[[routes]]
name = "items"
path = "/items"
service = "origin"
rate_limit = "50/hour burst 50"

[[routes]]
name = "away"
path = "/away"
service = "away"
"""


class _Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def running_origin() -> Iterator[int]:
    """Run an origin in a thread; gives its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Origin) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Answer:
    """What the admin API answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)


@dataclass
class Node:
    """A running gateway with an admin API."""

    process: GatewayProcess
    admin: int

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask the admin API."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        return request(self.admin, method, path, data, {**sent, **(headers or {})})

    def get(self, path: str, **headers: str) -> Answer:
        """Send a request through the gateway."""
        return request(self.process.port, "GET", path, None, headers)


def request(
    port: int, method: str, path: str, body: str | bytes | None, headers: Mapping[str, str]
) -> Answer:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read().decode())
    finally:
        connection.close()


@contextmanager
def running_node(
    folder: Path,
    workers: int,
    config: str = CONFIG,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Node]:
    """Run a gateway in front of an origin."""
    admin = free_port()
    with running_origin() as origin:
        text = config.format(
            workers=workers, admin=admin, origin=origin, away=free_port(), folder=folder
        )
        with GatewayProcess(text, folder, environment=environment) as process:
            process.wait_for_log("admin API on")
            yield Node(process, admin)


@pytest.fixture(scope="module", params=[1, 2])
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node for all tests of a module: with one process, and with a supervisor."""
    with running_node(tmp_path_factory.mktemp("node"), request.param) as started:
        yield started


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    """A node with two workers for one test."""
    with running_node(tmp_path, 2) as started:
        yield started
