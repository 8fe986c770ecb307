"""Recorded traces: the spans of one exchange, made with OpenTelemetry's SDK.

Only what is sampled comes here. Attributes and names follow the semantic conventions for HTTP
(OpenTelemetry 1.23 and later): ``http.request.method``, ``http.route``, ``url.path``...
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gatewayd import Attempt, Reject, Trace, __version__
from gatewayd_filters.tracing.export import SpanQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from gatewayd import Exchange, Instance, Metrics, Observation, TraceContext
    from gatewayd_filters.tracing.config import TracingConfig

# Of a span, so that no client fills the collector: OpenTelemetry has no bound for lengths.
_LIMITS = SpanLimits(max_span_attributes=32, max_span_attribute_length=512)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"})


class Recorder:
    """Makes spans and has them sent; survives reloads with the same settings.

    Args:
        config: The filter's settings; ``endpoint`` is set.
        metrics: Where spans are counted.

    """

    def __init__(self, config: TracingConfig, metrics: Metrics) -> None:
        spans = metrics.counter(
            "gatewayd_spans", "Spans that were exported, or dropped.", ("result",)
        )
        exporter = OTLPSpanExporter(
            endpoint=config.endpoint,
            headers=dict(config.headers),
            timeout=config.export_timeout,
            certificate_file=config.ca,
        )
        self._queue = SpanQueue(
            exporter,
            interval=config.interval,
            queue_size=config.queue_size,
            batch_size=config.batch_size,
            exported=spans.labels("exported"),
            dropped=spans.labels("dropped"),
        )
        resource = {"service.name": config.service_name, "service.version": __version__}
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # whoever comes here is sampled
            resource=Resource.create(resource | config.attributes),
            shutdown_on_exit=False,
            span_limits=_LIMITS,
        )
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer("gatewayd", __version__)
        self._filter_spans = config.filter_spans
        self._shutdown_timeout = config.shutdown_timeout

    def begin(self, exchange: Exchange, parent: TraceContext | None) -> RecordedTrace:
        """Start the server's span of an exchange; it ends with the exchange."""
        request = exchange.request
        method = _method_of(exchange)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.scheme": request.peer.scheme,
            "url.path": request.path,
            "server.address": request.host,
            "client.address": request.peer.address,
            "network.protocol.version": "{}.{}".format(*request.version),
            "gatewayd.request.id": exchange.id,
        }
        agent = request.headers.get("User-Agent")
        if agent is not None:
            attributes["user_agent.original"] = agent
        span = self._tracer.start_span(
            method, _context_of(parent), SpanKind.SERVER, attributes=attributes
        )
        trace = RecordedTrace.of(
            span, self._tracer, b"" if parent is None else parent.state, self._filter_spans
        )
        exchange.on_finish(trace.finish)
        return trace

    async def close(self) -> None:
        """Send what waits, within the time for it."""
        await asyncio.to_thread(self._queue.close, self._shutdown_timeout)


class RecordedTrace(Trace, kw_only=True, gc=True):
    """A trace whose spans are recorded."""

    span: Span
    _tracer: Tracer
    _context: Context
    _filter_spans: bool
    _resends: int = 0

    @classmethod
    def of(cls, span: Span, tracer: Tracer, state: bytes, filter_spans: bool) -> RecordedTrace:
        """Make the trace of the server's span."""
        ids = span.get_span_context()
        return cls(
            f"{ids.trace_id:032x}", f"{ids.span_id:016x}", True, state,
            span=span, _tracer=tracer, _context=set_span_in_context(span),
            _filter_spans=filter_spans,
        )  # fmt: skip

    @contextmanager
    def attempt(self, instance: Instance) -> Iterator[Attempt]:
        """Record one attempt as a client's span."""
        host, _, port = instance.authority.rpartition(":")
        attributes: dict[str, str | int] = {
            "server.address": host or instance.authority,
            "peer.service": instance.service,
            "url.full": instance.url,
        }
        if port.isdecimal():
            attributes["server.port"] = int(port)
        if self._resends:
            attributes["http.request.resend_count"] = self._resends
        self._resends += 1
        name = f"attempt {instance.service}"
        span = self._tracer.start_span(name, self._context, SpanKind.CLIENT, attributes=attributes)
        ids = span.get_span_context()
        note = Attempt(f"00-{ids.trace_id:032x}-{ids.span_id:016x}-01".encode())
        try:
            yield note
        except BaseException as error:
            _fail(span, error.code if isinstance(error, Reject) else type(error).__name__)
            raise
        else:
            if note.status:
                span.set_attribute("http.response.status_code", note.status)
                if note.status >= 400:
                    _fail(span, str(note.status))
        finally:
            span.end()

    def finish(self, exchange: Exchange, error: BaseException | None) -> None:
        """End the server's span, as the exchange has ended."""
        span, route, service = self.span, exchange.route, exchange.service
        if route is not None:
            path = route.config.path
            span.set_attribute("http.route", path)
            span.update_name(f"{_method_of(exchange)} {path}")
            span.set_attribute("gatewayd.route.name", route.name)
        if service is not None:
            span.set_attribute("gatewayd.service.name", service.name)
        status = 0 if exchange.response is None else exchange.response.status
        if status:
            span.set_attribute("http.response.status_code", status)
        if error is not None:
            _fail(span, type(error).__name__)
        elif status >= 500:  # a 4xx is the caller's error, not this server's
            _fail(span, str(status))
        # There may be an observation that somebody else has asked for, such as `metrics`.
        if self._filter_spans and exchange.observation is not None:
            self._record_filters(exchange.observation)
        span.end()

    def _record_filters(self, observation: Observation) -> None:
        """Make a span of every run of a filter, with the time that was its own."""
        offset = time.time_ns() - int(observation.clock() * 1e9)
        for visit in observation.visits:
            left_at = observation.clock() if visit.left_at is None else visit.left_at
            span = self._tracer.start_span(
                f"filter {visit.filter.name}",
                self._context,
                attributes={
                    "gatewayd.filter.name": visit.filter.name,
                    "gatewayd.filter.decision": visit.decision,
                    "gatewayd.filter.loop_seconds": visit.loop_seconds,
                    "gatewayd.filter.wait_seconds": visit.wait_seconds,
                },
                start_time=offset + int(visit.entered_at * 1e9),
            )
            span.end(offset + int(left_at * 1e9))


def _method_of(exchange: Exchange) -> str:
    """Return the method as spans have it: clients may send any, of any length."""
    method = exchange.request.method
    return method if method in _METHODS else "_OTHER"


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _context_of(parent: TraceContext | None) -> Context | None:
    if parent is None:
        return None
    remote = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )  # without the state: it is passed on as it came, and OpenTelemetry logs one that is invalid
    return set_span_in_context(NonRecordingSpan(remote))
