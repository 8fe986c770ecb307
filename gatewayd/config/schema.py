"""The configuration's shape: one pydantic model per table of ``gateway.toml``.

Docstrings below the fields are the reference: ``docs/configuration.md`` and ``gatewayd schema`` are
generated from them. Filters bring their own models; here stands only what the host itself knows.
Every default names its precedent or its reason.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from gatewayd.admin.settings import AdminConfig
from gatewayd.audit.settings import AuditConfig
from gatewayd.config.model import Model
from gatewayd.config.stored import SourcesConfig
from gatewayd.config.types import (
    HeaderName,
    Network,
    Seconds,
    ServiceUrl,
    StatusPattern,
)  # for pydantic
from gatewayd.redis.settings import RedisConfig
from gatewayd.store.settings import StoreConfig
from gatewayd.telemetry.settings import LoggingConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]


class CertificateConfig(Model):
    """One certificate with its key; the one whose names match the client's SNI is served."""

    certificate: str
    """PEM file: the certificate, then its chain."""
    key: str
    """PEM file of the private key."""


class TlsConfig(Model):
    """TLS on the public listener."""

    certificates: list[CertificateConfig] = Field(min_length=1)
    """Certificates; the first one is served when the client's SNI matches none. Changed files are
    loaded again while running; a file that cannot be loaded leaves the old one in use."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest TLS version accepted (RFC 9325)."""
    client_ca: str | None = None
    """PEM file of the authorities that sign client certificates."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Whether clients are asked for a certificate. `optional` and `required` need `client_ca`."""

    @model_validator(mode="after")
    def _authority_for_clients(self) -> TlsConfig:
        if (self.client_certificates == "off") != (self.client_ca is None):
            raise ValueError("client_ca and client_certificates go together")
        return self


class ServerConfig(Model):
    """The public listener and its limits."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on; `0.0.0.0` or `::` for all. Loopback unless told, as nothing is open
    to the network by default."""
    port: int = Field(8001, ge=0, le=65535)
    """TCP port; 0 takes a free one, which the log names."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that accept connections, each with its own event loop on a shared port."""
    backlog: int = Field(1024, ge=1, le=65535)
    """Connections that may wait to be accepted, per worker."""
    max_in_flight: int = Field(4096, ge=1)
    """Exchanges that a worker runs at once; above it: 503 with Retry-After."""
    max_connections: int = Field(20000, ge=1)
    """Client connections per worker; above it new ones are closed at once."""
    max_header_bytes: int = Field(32768, ge=1024, le=1048576)
    """Bytes of a request head; above it: 431. nginx has 32k in all (4 x 8k)."""
    max_target_bytes: int = Field(8192, ge=256, le=1048576)
    """Bytes of a request target; above it: 414. RFC 9112 section 3 asks for 8000 at least."""
    max_headers: int = Field(100, ge=1, le=10000)
    """Header fields of a request; above it: 431. Apache's default."""
    header_timeout: Seconds = 10.0
    """Time for a complete request head, from the connection or from its first byte (slowloris);
    above it: 408."""
    keepalive_timeout: Seconds = 75.0
    """How long a connection may stay idle between requests. nginx's default."""
    body_timeout: Seconds = 60.0
    """Longest pause between two reads of a request body; above it: 408. nginx's default."""
    send_timeout: Seconds = 60.0
    """Longest time in which a client takes nothing of a response that waits for it; then the
    connection is closed. nginx's default."""
    drain_timeout: Seconds = 30.0
    """Time for exchanges to end after SIGTERM; what runs then is broken off."""
    trusted_proxies: list[Network] = []
    """Networks whose `X-Forwarded-*` and `Forwarded` are believed; from others they are removed."""
    identity_headers: list[HeaderName] = [
        "X-User-Id", "X-User-Name", "X-User-Email", "X-User-Roles", "X-User-Permissions",
        "X-User-Scopes", "X-Api-Key-Id", "X-Auth-Method", "X-Principal",
    ]  # fmt: skip
    """Fields in which upstreams trust the gateway; removed from every request on entry. Those in
    which it tells of the caller itself are removed whether they are listed here or not."""
    tls: TlsConfig | None = None
    """TLS settings; plain HTTP where absent."""


class RoutingConfig(Model):
    """How request paths are normalised, once, before any route is matched."""

    dot_segments: Literal["resolve", "reject"] = "resolve"
    """`.` and `..`, also percent-encoded: resolved (RFC 3986 section 5.2.4) or 400."""
    duplicate_slashes: Literal["merge", "keep", "reject"] = "merge"
    """`//`: one slash, as it is, or 400."""
    encoded_slashes: Literal["reject", "keep", "decode"] = "reject"
    """`%2F` and `%5C`: 400, left encoded inside their segment, or decoded before matching. Where
    they are kept, `..` before one is refused."""
    double_encoding: Literal["reject", "keep"] = "reject"
    """`%25` before two hexadecimal digits, which a second decoder would turn into another path."""
    backslashes: Literal["reject", "decode"] = "reject"
    r"""`\`: 400, or the same as `/`, as some origins treat it."""
    path_parameters: Literal["keep", "reject"] = "keep"
    """`;name=value` in a segment: sent upstream as it is, or 400. Routes are matched without it,
    because some origins cut it off. Segments that are empty or dots before the `;`, as in
    `/..;/admin`, are always refused."""


class WeightedService(Model):
    """One of several services that share a route."""

    name: Name
    """Name of the service."""
    weight: int = Field(1, ge=0, le=1_000_000)
    """Share of the requests, relative to the others."""


class RewriteConfig(Model):
    """How the path changes on its way upstream; first the prefix, then the pattern."""

    strip_prefix: str | None = None
    """Prefix to cut off, by whole segments; without effect on paths that lack it."""
    prefix: str | None = None
    """Prefix to put in front."""
    regex: str | None = None
    """Regular expression searched for in the path; goes with `replacement`."""
    replacement: str | None = None
    r"""What replaces the match; `\1` and `\g<name>` refer to groups."""
    path: str | None = None
    """The whole path, with `{param}` for path parameters. Excludes the other keys."""
    host: str | None = None
    """Host field to send upstream; by default the client's goes on."""


class RedirectConfig(Model):
    """An answer of the gateway itself that sends the client elsewhere."""

    to: str
    """Target; `{param}` stands for path parameters, `{rest}` for what lies below a prefix, and
    `{query}` for `?` and the query where there is one."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """Status code; 308 keeps method and body."""


class RouteConfig(Model):
    """A rule that matches requests, and where they go.

    Filters add shorthand keys of their own, such as `rate_limit`; see the filters.
    """

    model_config = ConfigDict(extra="allow")  # the extra keys are checked against the filters'

    name: Name
    """Unique name, for logs, metrics and `gatewayd routes explain`."""
    path: str = "/"
    """Path to match, with `{param}`, `{param:regex}` or a final `{rest...}`."""
    match: Literal["prefix", "exact", "regex"] = "prefix"
    """`prefix` matches the path itself and what lies below it, by whole segments."""
    hosts: list[str] = []
    """Host names, `*.example.org` for any name below; all hosts where empty."""
    methods: list[Annotated[str, Field(pattern=r"^[A-Z]+$")]] = []
    """Methods; all where empty. `GET` includes `HEAD`."""
    headers: dict[str, str] = {}
    """Fields that must be there: an exact value, `~regex`, or `*` for any."""
    query: dict[str, str] = {}
    """Query parameters that must be there; values as in `headers`."""
    priority: int = Field(0, ge=-1000, le=1000)
    """Overrides specificity: the higher one is tried first."""
    service: Name | list[WeightedService] | None = None
    """Service, or several with weights (canary)."""
    timeout: Seconds | None = None
    """Time for the whole exchange, its body included; above it: 504. No limit where absent."""
    rewrite: RewriteConfig | None = None
    """How the path changes on its way upstream."""
    redirect: RedirectConfig | None = None
    """Answer with a redirect instead of a service."""
    filters: dict[str, dict[str, Any] | bool] = {}
    """Settings of filters for this route; `false` removes a filter, `true` brings it back."""

    @model_validator(mode="after")
    def _goes_somewhere(self) -> RouteConfig:
        if (self.service is None) == (self.redirect is None):
            raise ValueError("a route has either a service or a redirect")
        return self

    @property
    def services(self) -> list[WeightedService]:
        """The services with their weights, one or several."""
        if self.service is None:
            return []
        if isinstance(self.service, str):
            return [WeightedService(name=self.service)]
        return self.service


class InstanceConfig(Model):
    """One address of a service."""

    url: ServiceUrl
    """`http://host:port` or `https://host:port`."""
    weight: int = Field(1, ge=0, le=1_000_000)
    """Share of the requests, for balancers that weigh; 0 takes the instance out."""
    zone: str = ""
    """Where it stands, for balancers that prefer what is near."""
    healthy: bool = True
    """`false` takes the instance out."""


class UpstreamTlsConfig(Model):
    """TLS towards the instances of a service whose URLs say `https`."""

    verify: bool = True
    """Whether the certificate and the host name are verified."""
    ca: str | None = None
    """PEM file of the authorities; the system's where absent."""
    server_name: str | None = Field(None, pattern=r"^[!-~]+$")
    """Name to send as SNI and to verify; the URL's host where absent."""
    certificate: str | None = None
    """PEM file of the client certificate with its chain."""
    key: str | None = None
    """PEM file of its private key."""


class HealthConfig(Model):
    """Active health checks: every instance is asked by `GET`, by one worker of each node."""

    path: str = Field("/", pattern=r"^/[!-~]*$")
    """Path to ask for, with a query where there is one."""
    interval: Seconds = 5.0
    """Time between two checks of an instance. NGINX Plus's default."""
    timeout: Seconds = 2.0
    """Time for one check, its connection included; above it: failed."""
    healthy_after: int = Field(2, ge=1, le=1000)
    """Successes in a row after which an instance is used again. HAProxy's default."""
    unhealthy_after: int = Field(3, ge=1, le=1000)
    """Failures in a row after which it is used no more. HAProxy's default."""
    statuses: tuple[StatusPattern, ...] = ("2xx",)
    """Statuses that are successes; redirects are not followed."""
    jitter: float = Field(0.1, ge=0, le=0.9)
    """Share of the interval by which it varies at random, so that nodes do not ask in step."""
    host: str | None = Field(None, pattern=r"^[!-~]+$")
    """Host field to send; the instance's own where absent."""


class OutlierConfig(Model):
    """Ejection of instances that fail real exchanges, for each worker by itself.

    An instance fails where it cannot be reached, breaks off, is late, or answers with a 5xx.
    """

    consecutive_failures: int = Field(5, ge=0, le=100_000)
    """Failures in a row that eject an instance; 0 for none. Envoy's default."""
    failure_ratio: float = Field(0.5, ge=0, le=1)
    """Share of failures that ejects it; 0 for none."""
    min_requests: int = Field(20, ge=1, le=100_000)
    """Exchanges in the window below which no ratio ejects it."""
    window: Seconds = 10.0
    """Seconds over which exchanges are counted for the ratio. Envoy's interval."""
    base_ejection: Seconds = 30.0
    """Seconds of the first ejection; the second is twice as long, the third three times. Envoy's
    default."""
    max_ejection: Seconds = 300.0
    """Longest ejection. Envoy's default."""
    max_ejected_share: float = Field(0.5, ge=0, le=1)
    """Share of the instances that are ejected at most. With half of them a lone instance never is,
    of three it is one."""


class ServiceConfig(Model):
    """A named upstream and its connections. Keys of the chosen discovery stand here as well."""

    model_config = ConfigDict(extra="allow")  # the extra keys belong to the discovery's own model

    discovery: Name = "static"
    """What tells the instances: `static`, `dns`, or another installed discovery."""
    connect_timeout: Seconds = 5.0
    """Time to make a connection, TLS included. Envoy's default."""
    max_connections: int = Field(256, ge=1, le=100_000)
    """Connections per instance and worker."""
    max_pending: int = Field(1024, ge=0, le=1_000_000)
    """Exchanges that may wait for a connection, per instance and worker; above it: 503. Envoy's
    default."""
    pool_timeout: Seconds = 5.0
    """How long one may wait for a connection; above it: 503."""
    idle_timeout: Seconds = 30.0
    """How long an unused connection is kept. Below the 60 s and more after which servers close
    theirs, so that few requests meet a dead connection."""
    max_response_header_bytes: int = Field(65536, ge=1024, le=1048576)
    """Bytes of a response head; above it: 502."""
    max_response_headers: int = Field(256, ge=1, le=10000)
    """Fields of a response head; above it: 502."""
    tls: UpstreamTlsConfig = UpstreamTlsConfig()
    """TLS towards the instances."""
    health: HealthConfig | None = None
    """Active health checks; none where absent."""
    outlier: OutlierConfig | None = None
    """Ejection of failing instances; none where absent."""
    filters: dict[str, dict[str, Any] | bool] = {}
    """Settings of filters for routes that go to this service; `false` removes a filter."""


class PipelineConfig(Model):
    """The filters that every exchange runs through, in order."""

    filters: list[str] = Field(
        default=[
            "request_id", "explain", "access_log", "metrics", "tracing", "ops",
            "route_match",
            "cors", "ip_filter", "auth", "rbac", "token_bucket", "body_limit", "headers",
            "retry", "balancer", "breaker", "upstream",
        ],
        min_length=1,
    )  # fmt: skip
    """Names of filters. The order is checked against what they require, never changed."""


class GatewayConfig(Model):
    """The whole of `gateway.toml`."""

    server: ServerConfig = ServerConfig()
    """The public listener and its limits."""
    routing: RoutingConfig = RoutingConfig()
    """Path normalisation."""
    admin: AdminConfig | None = None
    """The admin listener; none where absent."""
    logging: LoggingConfig = LoggingConfig()
    """The processes' own log."""
    config: SourcesConfig = SourcesConfig()
    """Where routes and services come from."""
    store: StoreConfig = StoreConfig()
    """The SQL database. Opened where something uses it."""
    redis: RedisConfig | None = None
    """Redis; not used where absent."""
    audit: AuditConfig = AuditConfig()
    """The audit trail."""
    pipeline: PipelineConfig = PipelineConfig()
    """The filters, in order."""
    filters: dict[str, dict[str, Any]] = {}
    """Settings of filters, by name, for all routes."""
    services: dict[Name, ServiceConfig] = {}
    """The upstreams, by name."""
    routes: list[RouteConfig] = []
    """The routes; their order does not matter, the most specific one wins."""
