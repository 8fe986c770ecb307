"""Continue the caller's trace, and record the gateway's part of it where it is sampled.

The decision is made before OpenTelemetry's SDK is touched: a request that is not recorded costs the
reading and writing of a header field, one that is costs a span for itself and one for each attempt.
"""

from __future__ import annotations

import time
from random import random
from typing import TYPE_CHECKING

from gatewayd import Filter, Observation, Trace, check_header, new_trace, read_trace_context
from gatewayd_filters.tracing.config import TracingConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatewayd import (
        Exchange,
        Forward,
        Gateway,
        Headers,
        Request,
        Response,
        TraceContext,
    )
    from gatewayd_filters.tracing.recording import Recorder

# What B3 says is said again in W3C's form; left in place it would contradict that.
_B3 = ("b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled", "X-B3-Flags")
_REPLACED = ("traceparent", "tracestate", *_B3)
_B3_KEYS = frozenset(name.lower().encode() for name in _B3)
_REPLACED_KEYS = frozenset(name.lower().encode() for name in _REPLACED)


class Tracing(Filter[TracingConfig]):
    """Continue, sample and record traces."""

    name = "tracing"
    Config = TracingConfig
    provides = frozenset({"trace"})

    def __init__(self, config: TracingConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._recorder: Recorder | None = None
        self._ratio = config.sample_ratio if config.endpoint is not None else 0.0
        self._force_key = None if config.force_key is None else config.force_key.encode()
        self._force_field = config.force_header.lower().encode()
        self._context_keys = _REPLACED_KEYS | {self._force_field}

    async def start(self) -> None:
        """Start the thread that sends spans, where there is somebody to send them to."""
        config = self.config
        if config.endpoint is not None:
            # Imported here: the SDK takes 20 MB, which those who record nothing need not pay.
            from gatewayd_filters.tracing.recording import Recorder

            metrics = self.gateway.metrics
            key = ("tracing", config.model_dump_json())
            self._recorder = self.gateway.keep(key, lambda: Recorder(config, metrics))

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """See :meth:`gatewayd.Filter.__call__`."""
        headers = exchange.request.headers
        drawn = self._ratio > 0 and random() < self._ratio  # noqa: S311  # a share, not a secret
        if drawn or not self._context_keys.isdisjoint(headers.index):
            return self._continue(exchange, forward, drawn=drawn)
        # Nobody has begun a trace, and this one is not recorded: so are most requests.
        exchange.trace = new_trace()  # `upstream` tells it
        return forward(exchange)

    def _continue(
        self, exchange: Exchange, forward: Forward, *, drawn: bool
    ) -> Awaitable[Response]:
        """Continue a trace that was told, or record one."""
        request = exchange.request
        index = request.headers.index
        parent = read_trace_context(index)
        sampled = self._samples(request, parent, drawn=drawn)
        if self._force_field in index:
            sampled = self._is_forced(index[self._force_field]) or sampled
            request.headers.remove(self.config.force_header)
        trace: Trace
        if sampled and self._recorder is not None:
            trace = self._recorder.begin(exchange, parent)
            if self.config.filter_spans and exchange.observation is None:
                exchange.observation = Observation()
        else:
            trace = _unrecorded(parent, sampled=sampled)
        exchange.trace = trace
        _write(request.headers, trace)
        return forward(exchange)

    def _samples(self, request: Request, parent: TraceContext | None, *, drawn: bool) -> bool:
        if parent is not None and parent.sampled is not None:
            follow = self.config.follow
            if follow == "always" or (follow == "trusted_peers" and request.peer.trusted):
                return parent.sampled
        return drawn

    def _is_forced(self, value: bytes) -> bool:
        key = self._force_key
        return key is not None and check_header(key, "trace", value, time.time())


def _unrecorded(parent: TraceContext | None, *, sampled: bool) -> Trace:
    """Return the place in the trace of a gateway that adds no span to it."""
    if parent is None:
        new = new_trace()
        return Trace(new.trace_id, new.span_id, sampled)
    return Trace(parent.trace_id, parent.span_id, sampled, parent.state)


def _write(headers: Headers, trace: Trace) -> None:
    """Say in a request's fields in which trace its receiver is, in W3C's form only."""
    index, value = headers.index, trace.traceparent
    if _REPLACED_KEYS.isdisjoint(index):
        headers.put(b"traceparent", value, b"traceparent: %b\r\n" % value)
        return
    told = index.get(b"traceparent"), index.get(b"tracestate", b"")
    if told == (value, trace.state) and _B3_KEYS.isdisjoint(index):
        return
    lines = [(b"traceparent", value)]
    if trace.state:
        lines.append((b"tracestate", trace.state))
    headers.remove(*_REPLACED)
    headers.extend(lines)
