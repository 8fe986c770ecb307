"""An origin in a thread of the test, with responses that the test holds back."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

_POLL_SECONDS = 0.01  # how fast it stops


class HeldOrigin(ThreadingHTTPServer):
    """Answers ``GET`` with 200; ``/slow`` not before the test allows it.

    Attributes:
        slow_started: Set when a request for ``/slow`` is there.
        slow_may_end: Lets it be answered.
        connections: How many there have been.

    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.slow_started = threading.Event()
        self.slow_may_end = threading.Event()
        self.connections = 0

    def verify_request(self, _request: object, _address: object) -> bool:
        self.connections += 1
        return True

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.slow_may_end.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HeldOrigin

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.slow_started.set()
            self.server.slow_may_end.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def get(port: int, path: str = "/") -> http.client.HTTPResponse:
    """Send a request on a connection of its own; return the response, read and closed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()
