"""An origin for big bodies, cheap enough for the core that it shares with the client.

``GET`` sends a file with sendfile. ``PUT`` reads the whole body and then says how long it was, and
for ``PUT /checked`` its SHA-256, which would be too slow while measuring.

Usage: ``python body_origin.py PORT FILE``
"""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class BodyHandler(BaseHTTPRequestHandler):
    """Serves one connection."""

    protocol_version = "HTTP/1.1"
    body_file: Path

    def do_GET(self) -> None:
        """Send the file."""
        with self.body_file.open("rb") as body:
            self.send_response(200)
            self.send_header("Content-Length", str(self.body_file.stat().st_size))
            self.end_headers()
            self.connection.sendfile(body)

    def do_PUT(self) -> None:
        """Read the body, then tell its length and, where asked, its checksum."""
        digest = hashlib.sha256()
        checked = self.path == "/checked"
        left = int(self.headers["Content-Length"])
        buffer = memoryview(bytearray(1_000_000))
        while left:
            count = self.rfile.readinto(buffer[: min(left, len(buffer))])
            if not count:
                raise ConnectionError(f"the body ended {left} bytes early")
            left -= count
            if checked:
                digest.update(buffer[:count])
        self._send_json({"sha256": digest.hexdigest() if checked else None})

    def _send_json(self, value: object) -> None:
        answer = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing per request."""


if __name__ == "__main__":
    port, file = sys.argv[1:]
    BodyHandler.body_file = Path(file)
    ThreadingHTTPServer(("127.0.0.1", int(port)), BodyHandler).serve_forever()
