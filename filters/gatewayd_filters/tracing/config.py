"""Settings of the `tracing` filter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gatewayd import FilterConfig, HeaderName, HttpUrl, Seconds


class TracingConfig(FilterConfig):
    """Settings of `tracing`.

    Without `endpoint` nothing is recorded; the context of the caller's trace is passed on in any
    case, and a request without one gets one, so that logs can name it.
    """

    endpoint: HttpUrl | None = None
    """Where spans are sent by OTLP over HTTP: Jaeger or any collector, such as
    `http://127.0.0.1:4318/v1/traces`. Credentials stand in `headers`."""
    sample_ratio: float = Field(0.01, ge=0, le=1)
    """Share of the requests that are recorded where the caller does not decide. Kong's default."""
    follow: Literal["trusted_peers", "always", "never"] = "trusted_peers"
    """Whose decision to record or not is followed: that of peers in `server.trusted_proxies`,
    everybody's, or nobody's. The trace's id is continued in any case. Not everybody's by default,
    as a recorded request costs more, and the collector's disk."""
    filter_spans: bool = False
    """Whether a recorded request has a span for each filter that runs for its route."""
    service_name: str = Field("gatewayd", min_length=1, max_length=255)
    """`service.name` of the spans."""
    attributes: dict[str, str] = Field(default={})
    """Further attributes of the resource, such as `deployment.environment.name`."""
    force_header: HeaderName = "X-Gatewayd-Trace"
    """Field by which an operator has one request recorded, whatever the ratio; it does not go
    upstream. `gatewayd trace header` makes its value."""
    force_key: str | None = Field(None, min_length=16, repr=False)
    """Key that the field is signed with, a secret of at least 16 characters; the field means
    nothing where it is absent."""
    headers: dict[HeaderName, str] = Field(default={}, repr=False)
    """Fields to send to the endpoint, such as `Authorization`."""
    ca: str | None = None
    """PEM file of the authorities for an `https` endpoint; the usual ones where absent."""
    export_timeout: Seconds = 5.0
    """Time for sending one batch, with what is tried again in it; half of OpenTelemetry's default,
    as what waits behind it is dropped."""
    interval: Seconds = 1.0
    """Longest time for which a span waits for company. OpenTelemetry's 5 s lose more in a crash."""
    queue_size: int = Field(2048, ge=1, le=1_000_000)
    """Spans that may wait; those beyond are dropped and counted. OpenTelemetry's default."""
    batch_size: int = Field(512, ge=1, le=100_000)
    """Spans in one batch at most. OpenTelemetry's default."""
    shutdown_timeout: Seconds = 2.0
    """Time at the end for sending what still waits."""

    @model_validator(mode="after")
    def _batch_fits_queue(self) -> TracingConfig:
        if self.batch_size > self.queue_size:
            raise ValueError("batch_size is above queue_size")
        return self
