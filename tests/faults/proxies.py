"""gatewayd and Envoy with equivalent settings, in front of the same instances."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.servers import GatewayProcess, Process, find_program, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PER_TRY = 0.2
"""Seconds that one attempt may take until its head is there."""
TOTAL = 2.0
"""Seconds that an exchange may take."""
BETWEEN_BYTES = 0.3
"""Longest pause in a response body."""

RETRY = f"""
    attempts = 3
    on = ["connect_failure", "reset", "timeout", "bad_response", "5xx"]
    per_try_timeout = {PER_TRY}
    budget = 0.2
    budget_floor = 20.0
"""
"""Settings of gatewayd's retry filter."""

BREAKER = "consecutive_failures = 5\nopen_for = 5"
"""Settings of gatewayd's breaker."""


def gatewayd(
    ports: Sequence[int],
    folder: Path,
    *,
    breaker: bool = False,
    breaker_settings: str = BREAKER,
    retry: str = RETRY,
) -> GatewayProcess:
    """Return gatewayd in front of the instances on these ports.

    Args:
        ports: Where the instances listen.
        folder: For its configuration and log.
        breaker: Stop asking an instance that fails.
        breaker_settings: When it does so.
        retry: Settings of the retry filter.

    """
    filters = ["route_match", "retry", "balancer", *(["breaker"] * breaker), "upstream"]
    instances = ", ".join(f'{{ url = "http://127.0.0.1:{port}" }}' for port in ports)
    config = f"""
        [pipeline]
        filters = {filters}
        [filters.retry]
        {retry}
        [filters.upstream]
        between_bytes_timeout = {BETWEEN_BYTES}
        [services.api]
        connect_timeout = 1.0
        instances = [{instances}]
        [[routes]]
        name = "all"
        service = "api"
        timeout = {TOTAL}
    """
    if breaker:
        config += f"[filters.breaker]\n{breaker_settings}\n"
    return GatewayProcess(config, folder)


def envoy(ports: Sequence[int], folder: Path, *, breaker: bool = False) -> Process | None:
    """Return Envoy in front of the instances on these ports; ``None`` where it is not installed.

    Args:
        ports: Where the instances listen.
        folder: For its configuration and log.
        breaker: Eject an instance after five failures in a row (outlier detection).

    """
    program = find_program("envoy")
    if program is None:
        return None
    port = free_port()
    path = folder / "envoy.json"
    path.write_text(json.dumps(_bootstrap(port, ports, breaker=breaker)))
    arguments = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return Process([program, "-c", path, *arguments], folder / "envoy.log", port=port)


def _bootstrap(listen: int, ports: Sequence[int], *, breaker: bool) -> dict[str, Any]:
    extensions = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "stream_idle_timeout": f"{BETWEEN_BYTES}s",
        "route_config": {"virtual_hosts": [_routes()]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{extensions}.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": _address(listen),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    cluster: dict[str, Any] = {
        "name": "api",
        "connect_timeout": "1s",
        # Its own default lets three retries run at a time.
        "circuit_breakers": {"thresholds": [{"max_retries": 4096}]},
        "load_assignment": {
            "cluster_name": "api",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(port)}} for port in ports]}
            ],
        },
    }
    if breaker:
        cluster["outlier_detection"] = {
            "consecutive_5xx": 5, "interval": "0.1s", "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        }  # fmt: skip
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _routes() -> dict[str, Any]:
    """Return routes that repeat a POST only where no connection was made."""
    post = {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}
    return {
        "name": "all",
        "domains": ["*"],
        "routes": [
            _route(post, "connect-failure"),
            _route({"prefix": "/"}, "connect-failure,reset,5xx"),
        ],
    }


def _route(match: dict[str, Any], retry_on: str) -> dict[str, Any]:
    predicates = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3"
    previous = {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": f"{predicates}.PreviousHostsPredicate"},
    }
    retry = {
        "retry_on": retry_on,
        "num_retries": 2,
        "per_try_timeout": f"{PER_TRY}s",
        "retry_host_predicate": [previous],
        "host_selection_retry_max_attempts": 5,
    }
    return {
        "match": match,
        "route": {"cluster": "api", "timeout": f"{TOTAL}s", "retry_policy": retry},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
