"""What the admin API takes and gives. ``openapi.json`` is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool

from gatewayd.config.model import Model
from gatewayd.telemetry.settings import LoggerName, LogLevel


def _number(value: object) -> object:
    """Refuse what is no number of JSON; `7.0` is a whole one, `"7"` is none."""
    if isinstance(value, str | bool):
        raise ValueError("expected a number")  # noqa: TRY004  # pydantic takes no TypeError
    return value


Text = Annotated[str, Field(max_length=1024)]


class Problem(Model):
    """An error (RFC 9457)."""

    type: str
    """`about:blank`."""
    title: str
    """The status in words."""
    status: int
    """The status."""
    code: str
    """What went wrong, for programs."""
    detail: str
    """What went wrong, for people."""


class Health(Model):
    """That the process answers."""

    status: Literal["ok"]
    """Always `ok`."""


class WorkerReadiness(Model):
    """Whether one worker should get traffic."""

    worker: int
    """Number of the worker."""
    status: Literal["ready", "not_ready", "draining", "unknown"]
    """`unknown` where the worker does not answer."""
    checks: dict[str, Any]
    """Of each dependency: `status`, `latency_ms`, and `gates`, whether it gates readiness."""


class Readiness(Model):
    """Whether the node should get traffic: some worker is ready."""

    status: Literal["ready", "not_ready"]
    """The node's status."""
    workers: list[WorkerReadiness]
    """The workers' own."""


class WorkerStatus(Model):
    """One worker process."""

    worker: int
    """Its number."""
    pid: int
    """Its process id."""
    uptime: float = 0.0
    """Seconds since it started."""
    generation: int = 0
    """Number of the generation that runs."""
    digest: str = ""
    """Digest of its configuration."""
    in_flight: int = 0
    """Exchanges that run now."""
    connections: int = 0
    """Open connections of clients."""
    retiring: int = 0
    """Generations that wait for their last exchange."""
    draining: bool = False
    """Whether it is out of service."""
    error: str = ""
    """Why it told nothing, where it did not."""


class Status(Model):
    """The node."""

    version: str
    """Of gatewayd."""
    pid: int
    """Of the process that answers: the supervisor, or the only one."""
    uptime: float
    """Seconds since it started."""
    files: list[str]
    """What the running configuration was read from."""
    env: str | None
    """Name of the environment, if one was named."""
    digest: str
    """SHA-256 of the effective configuration."""
    workers: list[WorkerStatus]
    """The workers."""


class Route(Model):
    """A route, and where the configuration has it."""

    name: str
    """Its name."""
    path: str
    """Its path."""
    methods: list[str]
    """Its methods; all where empty."""
    hosts: list[str]
    """Its hosts; all where empty."""
    services: list[str]
    """Where it leads."""
    place: str
    """File and line."""


class Instance(Model):
    """One address of a service, as the workers see it."""

    url: str
    """Its URL."""
    weight: int
    """Its weight."""
    zone: str
    """Its zone."""
    healthy: bool
    """Whether discovery says that it may be used."""
    checked: bool
    """Whether it passes its health checks, in all workers."""
    available: int
    """In how many workers balancers may pick it."""
    ejected_for: float
    """Seconds for which it is still ejected, in the worker where it is longest."""
    active: int
    """Exchanges that it works on, of all workers."""


class Service(Model):
    """A service with its instances."""

    name: str
    """Its name."""
    discovery: str
    """What tells its instances."""
    workers: int
    """How many workers were asked."""
    instances: list[Instance]
    """Its instances."""


class Breaker(Model):
    """A circuit breaker of one worker."""

    worker: int
    """The worker."""
    service: str
    """The service that it stands in front of."""
    target: str
    """The instance, or the service's name where it is for all of them."""
    state: Literal["closed", "open", "half_open"]
    """Its state."""
    retry_after: float
    """Seconds until it lets something through."""


class BreakerSelection(Model):
    """Which breakers."""

    service: Text | None = None
    """Those of this service; of all where absent."""
    target: Text | None = None
    """That of this instance; all where absent."""


class Bucket(Model):
    """A token bucket, as a worker has asked its backend."""

    worker: int
    """The worker that asked."""
    key: str
    """Its key: what the limit is for, then who it limits."""
    remaining: float
    """Tokens in it."""
    burst: float
    """Tokens that it holds."""
    rate: float
    """Tokens that come back each second."""


class BucketSelection(Model):
    """Which buckets."""

    prefix: Text
    """Beginning of their keys, such as `route/search|alice`; every bucket where empty."""
    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(_number)] = 100
    """Buckets at most, of each worker."""


class Count(Model):
    """How many were changed."""

    count: int
    """In all workers."""


class OperationCall(Model):
    """What an operation of a filter is to be told."""

    arguments: dict[str, Any] = Field({})
    """Its arguments, which the filter checks. They are in the audit trail, so no secrets."""


class OperationAnswer(Model):
    """What came of an operation in one worker."""

    worker: int
    """The worker."""
    told: list[Any]
    """What its filters told."""


class Drain(Model):
    """Whether the node is in service."""

    draining: StrictBool
    """Out of service: `/ready` says so, idle connections are closed, requests are served all the
    same."""


class LogLevelChange(Model):
    """A logger and its level."""

    logger: LoggerName
    """Name of the logger: `gatewayd`, or one below it."""
    level: LogLevel
    """Least severe events that it logs, until the next reload."""


class Reloaded(Model):
    """The configuration that runs after a reload."""

    digest: str
    """SHA-256 of the effective configuration."""


class DescribedRequest(Model):
    """A request to explain."""

    method: Annotated[str, Field(pattern=r"^[A-Z]{1,20}$")] = "GET"
    """Its method."""
    target: Annotated[str, Field(pattern=r"^/[!-~]{0,8000}$")]
    """Path, with a query where there is one."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$")] = "localhost"
    """Its Host."""
    headers: dict[
        Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")],
        Annotated[str, Field(pattern=r"^[ -~]{0,8000}$")],
    ] = Field({}, max_length=100, json_schema_extra={"additionalProperties": False})
    """Its other header fields."""
    send: StrictBool = False
    """Whether to send it for real: it runs through all filters, to an instance, and is counted and
    limited as any other; the response's body is dropped. Else nothing is sent: the rules are gone
    through, and filters do not run."""


class Explanation(Model):
    """What became, or would become, of a request; docs/operations.md describes the parts."""

    explanation: dict[str, Any]
    """The record."""


class RouteTraffic(Model):
    """What a route has had since the node started."""

    route: str
    """Its name; empty for what no route took."""
    requests: int
    """Exchanges."""
    refused: int
    """Of them, with a 4xx."""
    failed: int
    """Of them, with a 5xx."""
    seconds: float
    """Sum of their durations."""


class ServiceTraffic(Model):
    """What a service has had since the node started."""

    service: str
    """Its name."""
    attempts: int
    """Attempts at its instances."""
    retries: int
    """Of them, after the first."""
    requests: int
    """Exchanges that reached an instance."""
    seconds: float
    """Sum of the durations of the last attempts."""


class Traffic(Model):
    """What routes and services have had; nothing where the filter `metrics` is not there."""

    routes: list[RouteTraffic]
    """By route."""
    services: list[ServiceTraffic]
    """By service."""
