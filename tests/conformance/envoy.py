"""Envoy's bootstrap for the suite, after "Configuring Envoy as an edge proxy" in its documentation.

It adds what stands in that page's spirit: spoofed fields that Envoy does not manage by itself are
removed, HTTP/1.0 is served, and answers to requests that ended early do not linger.
"""

from __future__ import annotations


def envoy_config(listen: int, origin: int, refusing: int) -> dict[str, object]:
    """Return the bootstrap for a listener in front of an origin and of a port that refuses."""
    extensions = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "via": "1.1 envoy",
        "request_headers_timeout": "2s",
        "stream_idle_timeout": "5s",
        "delayed_close_timeout": "0.2s",
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": "gateway.test",
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "route_config": {
            "virtual_hosts": [_routes()],
            "request_headers_to_remove": ["forwarded", "x-forwarded-host", "x-real-ip"],
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": f"{extensions}.filters.http.router.v3.Router",
                },
            }
        ],
    }
    listener = {
        "address": _address(listen),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    clusters = [
        _cluster("origin", [origin]),
        _cluster("refusing", [refusing]),
        _cluster("empty", []),
    ]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _routes() -> dict[str, object]:
    def route(prefix: str, cluster: str, timeout: str = "0s") -> dict[str, object]:
        return {
            "match": {"path_separated_prefix": prefix},
            "route": {"cluster": cluster, "timeout": timeout},
        }

    get_only = route("/get-only", "origin")
    get_only["match"] = {
        "path_separated_prefix": "/get-only",
        "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
    }
    routes = [
        route("/t", "origin"),
        route("/public", "origin"),
        get_only,
        route("/hasty", "origin", "0.3s"),
        route("/refusing", "refusing"),
        route("/empty", "empty"),
    ]
    return {"name": "all", "domains": ["*"], "routes": routes}


def _cluster(name: str, ports: list[int]) -> dict[str, object]:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    return {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
