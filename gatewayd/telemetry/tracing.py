"""The trace of an exchange, for filters and plugin authors."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from gatewayd.telemetry.trace_context import TraceContext

if TYPE_CHECKING:
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


class Trace(TraceContext):
    """The gateway's own place in the trace of one exchange; this one records nothing.

    A filter that records derives from it.
    """

    __slots__ = ()

    added: bytes = b""
    """Field line that tells the upstream of it, where the request does not have it already."""

    def attempt(self, instance: Instance) -> AbstractContextManager[Attempt]:  # noqa: ARG002
        """Surround one attempt at an instance; what it raises is noted and goes on."""
        return nullcontext(Attempt(self.traceparent))


class NewTrace(Trace):
    """A trace that begins here and that nobody records, as most do; see :func:`new_trace`."""

    __slots__ = ("added",)

    sampled = False
    state = b""
    added: bytes
    __init__ = object.__init__  # attributes set from outside take half the time of a call


_MADE_AT_ONCE = 64

_new_traces: list[NewTrace] = []


def new_trace() -> NewTrace:
    """Return a trace with random ids: unique, not secret.

    The id of the span is the second half of that of the trace, as the first span of a trace has it
    in Zipkin. The first half is that of some other traces as well; whoever samples by ids looks at
    the last seven bytes (W3C Trace Context Level 2, random-trace-id flag).

    No id may be all zeros (section 3.2.2). Of 64 random bits or more none is in practice: one in
    five million years of 100,000 requests a second.
    """
    try:
        return _new_traces.pop()
    except IndexError:  # not asked before, as several threads may take the last ones
        _make_traces()
        return new_trace()


def _make_traces() -> None:
    """Make many at once: ids that are drawn one by one take half as much time again."""
    common = os.urandom(8).hex()
    for span_id in os.urandom(8 * _MADE_AT_ONCE).hex("-", 8).split("-"):
        trace = NewTrace()
        trace.trace_id = trace_id = common + span_id
        trace.span_id = span_id
        trace.added = f"traceparent: 00-{trace_id}-{span_id}-00\r\n".encode()
        _new_traces.append(trace)


def get_trace_id(exchange: Exchange) -> str | None:
    """Return the id of the exchange's trace, 32 hexadecimal digits; ``None`` without tracing."""
    trace = exchange.trace
    return None if trace is None else trace.trace_id


def get_span_id(exchange: Exchange) -> str | None:
    """Return the id of the gateway's own span, 16 hexadecimal digits; ``None`` without tracing."""
    trace = exchange.trace
    return None if trace is None else trace.span_id
