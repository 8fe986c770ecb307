"""All filters on every request: gatewayd with ``full.toml``, and Envoy with the same.

The same work: a JWT (HS256) verified and remembered, a role asked for, a local token bucket of each
caller that tells what is left of it, 200 routes, retries, ejection of failing instances, a request
id that the client is told, a trace context that goes upstream, probes answered, bodies limited,
statistics by route, a line of JSON for each request in an access log. What has nothing to do with
these settings (``cors``, ``ip_filter``, ``headers``) is in neither's way: gatewayd leaves it out of
its chains, and Envoy is not given it.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt

from tests.bench.peers import EXTENSIONS, envoy_process, envoy_skeleton
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from tests.bench.peers import Place
    from tests.support.process import Process

CONFIG = Path(__file__).parent / "conf" / "full.toml"
"""All filters, 200 routes, with fixed ports: itself on 8123, its origins on 9101 to 9103."""

PORT = 8123


def paths(count: int) -> list[str]:
    """Return the paths of so many routes, as the configuration has the first 200."""
    return [f"/api/v1/resource{number:03}" for number in range(count)]


PATHS = paths(200)

SECRET = "a secret of the benchmark, long enough for HS256"
_ISSUER = "bench"


def authorization() -> str:
    """Return the Authorization field of a caller who may use every route, for an hour."""
    claims = {
        "iss": _ISSUER,
        "sub": "bench-user",
        "exp": int(time.time()) + 3600,
        "roles": ["admin", "viewer"],
    }
    return f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"


def gatewayd(place: Place) -> Process:
    """Return gatewayd with these filters."""
    return GatewayProcess(
        CONFIG,
        place.folder,
        port=PORT,
        cores=place.cores,
        environment={"BENCH_SECRET": SECRET, "BENCH_RUN": str(place.folder)},
    )


def gatewayd_on_own_port(
    place: Place, *, routes: int = 200, redis_url: str | None = None
) -> Process:
    """Return gatewayd with these filters on a free port.

    Args:
        place: Where it runs.
        routes: How many routes it has, in the place of 200.
        redis_url: Where its token bucket is; in memory where absent.
    """
    text = CONFIG.read_text().replace(f"port = {PORT}", f"port = {place.port}")
    if redis_url is not None:
        text = text.replace('backend = "memory"', 'backend = "redis"')
        text = text.replace(
            "[filters.balancer]", f'[redis]\nurl = "{redis_url}"\n\n[filters.balancer]', 1
        )
    head, separator, route = text.partition("[[routes]]")
    template = (separator + route).split("[[routes]]")[1]
    more = "".join(
        "[[routes]]" + template.replace("resource000", f"resource{number:03}")
        for number in range(routes)
    )
    return GatewayProcess(
        head + more,
        place.folder,
        port=place.port,
        cores=place.cores,
        environment={"BENCH_SECRET": SECRET, "BENCH_RUN": str(place.folder)},
    )


def envoy(place: Place) -> Process:
    """Return Envoy with what it has of the same filters."""
    config = envoy_skeleton(
        place,
        routes=[_route(path) for path in PATHS],
        filters=[
            *map(_health_check, ("/health", "/ready")),
            _jwt_authn(),
            _rbac(),
            _local_ratelimit(),
            _body_limit(),
        ],
        dynamic_stats=True,
        manager={
            "generate_request_id": True,
            "always_set_request_id_in_response": True,
            "tracing": _tracing(),
            "access_log": [_access_log(place)],
        },
    )
    (cluster,) = config["static_resources"]["clusters"]
    cluster["outlier_detection"] = {"consecutive_5xx": 5, "base_ejection_time": "5s"}
    return envoy_process(place, config)


def _route(path: str) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    return {
        "name": name,
        "match": {"path_separated_prefix": path},
        "stat_prefix": name,
        "route": {
            "cluster": "origin",
            "timeout": "30s",
            "retry_policy": {"retry_on": "connect-failure,5xx", "num_retries": 2},
        },
    }


def _access_log(place: Place) -> dict[str, Any]:
    """Return an access log in JSON with the fields of gatewayd's."""
    line = {
        "timestamp": "%START_TIME%",
        "http.request.method": "%REQ(:METHOD)%",
        "url.path": "%REQ(:PATH)%",
        "url.scheme": "%REQ(:SCHEME)%",
        "server.address": "%REQ(:AUTHORITY)%",
        "network.protocol.version": "%PROTOCOL%",
        "client.address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "http.response.status_code": "%RESPONSE_CODE%",
        "http.response.body.size": "%BYTES_SENT%",
        "http.request.body.size": "%BYTES_RECEIVED%",
        "http.server.request.duration": "%DURATION%",
        "request.id": "%REQ(X-REQUEST-ID)%",
        "user_agent.original": "%REQ(USER-AGENT)%",
        "route": "%ROUTE_NAME%",
        "service": "%UPSTREAM_CLUSTER%",
        "instance": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "upstream.duration": "%RESPONSE_DURATION%",
        "enduser.id": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%",
        "trace.parent": "%REQ(TRACEPARENT)%",
        "error.type": "%RESPONSE_FLAGS%",
    }
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
            "path": str(place.folder / "access.log"),
            "log_format": {"json_format": line},
        },
    }


def _tracing() -> dict[str, Any]:
    """Return a tracer that records nothing: the context is passed on, or a new one made.

    Nothing is ever exported, so it does not matter which cluster would get it.
    """
    collector = {"envoy_grpc": {"cluster_name": "origin"}}
    tracer = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "service_name": "bench",
        "grpc_service": collector,
    }
    return {
        "random_sampling": {"value": 0.0},
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": tracer},
    }


def _health_check(path: str) -> dict[str, Any]:
    """Return a filter that answers probes."""
    return {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.http.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": path}}],
        },
    }


def _body_limit() -> dict[str, Any]:
    """Return Envoy's only filter that limits bodies; it gathers them, but here are none."""
    return {
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.http.buffer.v3.Buffer",
            "max_request_bytes": 10 * 1024 * 1024,
        },
    }


def _jwt_authn() -> dict[str, Any]:
    secret = base64.urlsafe_b64encode(SECRET.encode()).rstrip(b"=").decode()
    keys = {"keys": [{"kty": "oct", "alg": "HS256", "k": secret}]}
    provider = {
        "issuer": _ISSUER,
        "local_jwks": {"inline_string": json.dumps(keys)},
        "payload_in_metadata": "payload",
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    }


def _rbac() -> dict[str, Any]:
    has_role = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "payload"}, {"key": "roles"}],
        "value": {"list_match": {"one_of": {"string_match": {"exact": "admin"}}}},
    }
    policy = {"permissions": [{"any": True}], "principals": [{"metadata": has_role}]}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"admins": policy}},
        },
    }


def _local_ratelimit() -> dict[str, Any]:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    bucket = {
        "max_tokens": 100_000_000,
        "tokens_per_fill": 100_000_000,
        "fill_interval": "1s",
    }
    caller = {
        "descriptor_key": "caller",
        "metadata_key": {
            "key": "envoy.filters.http.jwt_authn",
            "path": [{"key": "payload"}, {"key": "sub"}],
        },
    }
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "bucket",
            "token_bucket": bucket,
            # Without a value, it makes a bucket for each that comes.
            "descriptors": [{"entries": [{"key": "caller"}], "token_bucket": bucket}],
            "max_dynamic_descriptors": 10_000,
            "rate_limits": [{"actions": [{"metadata": caller}]}],
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
            "filter_enabled": always,
            "filter_enforced": always,
        },
    }
