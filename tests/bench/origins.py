"""What stands behind the proxies: instances that answer small JSON, and one that moves big bodies.

nginx answers the small requests, as it costs the load's core least. It is no origin for uploads,
since a fixed answer of it does not wait for the body: that needs `body_origin`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.peers import needed
from tests.support.servers import Nginx, Process

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON_BODY = json.dumps({"id": 42, "name": "resource", "tags": ["a", "b"], "text": "x" * 188})
"""The answer to small requests: 250 bytes."""

INSTANCE_HEADER = "X-Instance"
"""Response field that tells which instance answered."""

TOLD = "/told"
"""End of a path that is answered with the trace context that came with the request."""


def json_origin(folder: Path, ports: Sequence[int]) -> Nginx:
    """Return nginx as one instance per port; each answers with `JSON_BODY`, but for `TOLD`."""
    servers = "".join(
        f"    server {{ listen 127.0.0.1:{port} backlog=1024; add_header {INSTANCE_HEADER} {port};"
        f" location / {{ return 200 '{JSON_BODY}'; }}"
        f" location ~ {TOLD}$ {{ return 200 $http_traceparent; }} }}\n"
        for port in ports
    )
    http = f"    default_type application/json;\n    keepalive_requests 1000000000;\n{servers}"
    return Nginx(folder, ports[0], http, program=needed("nginx", "Debian package nginx-light"))


def body_origin(folder: Path, port: int, body: Path) -> Process:
    """Return the origin for bodies: it serves this file, and counts and hashes what is sent."""
    program = Path(__file__).with_name("body_origin.py")
    return Process(
        [sys.executable, program, str(port), body], folder / "body_origin.log", port=port
    )


def write_body(file: Path, megabytes: int) -> str:
    """Fill a file with a random million bytes, repeated, and return its SHA-256."""
    block = os.urandom(1_000_000)
    digest = hashlib.sha256()
    with file.open("wb") as output:
        for _ in range(megabytes):
            output.write(block)
            digest.update(block)
    return digest.hexdigest()
