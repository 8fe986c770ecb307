"""The trace of an exchange, for filters and plugin authors."""

from __future__ import annotations

import os
from contextlib import nullcontext
from itertools import repeat
from typing import TYPE_CHECKING

from gatewayd.telemetry.trace_context import TraceContext

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from gatewayd.exchange import Exchange
    from gatewayd.services.instance import Instance


class Attempt:
    """What is noted of one attempt at an instance, while it runs.

    Attributes:
        traceparent: Field to send to the instance.
        status: Set by whoever makes the attempt: status of the response, 0 where there is none.

    """

    __slots__ = ("status", "traceparent")

    def __init__(self, traceparent: bytes) -> None:
        self.traceparent = traceparent
        self.status = 0


class Trace(TraceContext, gc=False):
    """The gateway's own place in the trace of one exchange; this one records nothing.

    A filter that records derives from it.

    Attributes:
        added: Field line that tells the upstream of it, where the request does not have it already.

    """

    added: bytes = b""

    def attempt(self, instance: Instance) -> AbstractContextManager[Attempt]:  # noqa: ARG002
        """Surround one attempt at an instance; what it raises is noted and goes on."""
        return nullcontext(Attempt(self.traceparent))


_MADE_AT_ONCE = 64

_new_traces: list[Trace] = []


def new_trace() -> Trace:
    """Return a trace that begins here, with random ids: unique, not secret.

    The id of the span is the second half of that of the trace, as the first span of a trace has it
    in Zipkin. The first half is that of some other traces as well; whoever samples by ids looks at
    the last seven bytes (W3C Trace Context Level 2, random-trace-id flag).

    No id may be all zeros (section 3.2.2). Of 64 random bits or more none is in practice: one in
    five million years of 100,000 requests a second.
    """
    try:
        return _new_traces.pop()
    except IndexError:  # not asked before, as several threads may take the last ones
        _new_traces.extend(_make_traces())
        return new_trace()


def _make_traces() -> Iterable[Trace]:
    """Make many at once: one by one they take twice as much time."""
    common = os.urandom(8).hex()
    span_ids = os.urandom(8 * _MADE_AT_ONCE).hex("-", 8).split("-")
    trace_ids = [common + span_id for span_id in span_ids]
    lines = [f"traceparent: 00-{common}{one}-{one}-00\r\n".encode() for one in span_ids]
    return map(Trace, trace_ids, span_ids, repeat(False), repeat(b""), lines)


def get_trace_id(exchange: Exchange) -> str | None:
    """Return the id of the exchange's trace, 32 hexadecimal digits; ``None`` without tracing."""
    trace = exchange.trace
    return None if trace is None else trace.trace_id


def get_span_id(exchange: Exchange) -> str | None:
    """Return the id of the gateway's own span, 16 hexadecimal digits; ``None`` without tracing."""
    trace = exchange.trace
    return None if trace is None else trace.span_id
