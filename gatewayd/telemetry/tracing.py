"""The trace of an exchange, for filters and plugin authors."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from gatewayd.exchange import Key
from gatewayd.telemetry.trace_context import TraceContext, new_ids

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

    added = b""
    """Field line that tells the upstream of it, where the request does not have it already."""

    def attempt(self, instance: Instance) -> AbstractContextManager[Attempt]:  # noqa: ARG002
        """Surround one attempt at an instance; what it raises is noted and goes on."""
        return nullcontext(Attempt(self.traceparent))


class NewTrace(Trace):
    """A trace that begins here and that nobody records, as most do."""

    __slots__ = ()

    sampled = False
    state = b""

    def __init__(self) -> None:
        self.trace_id, self.span_id = new_ids()

    @property
    def added(self) -> bytes:  # type: ignore[override]
        """See :class:`Trace`."""
        # Not from `traceparent`, which is for any flags: that is a fifth of what tracing takes.
        return f"traceparent: 00-{self.trace_id}-{self.span_id}-00\r\n".encode()


TRACE: Key[Trace] = Key("trace")
"""The trace of the exchange; set by ``tracing``."""


def get_trace_id(exchange: Exchange) -> str | None:
    """Return the id of the exchange's trace, 32 hexadecimal digits; ``None`` without tracing."""
    trace = exchange.get(TRACE)
    return None if trace is None else trace.trace_id


def get_span_id(exchange: Exchange) -> str | None:
    """Return the id of the gateway's own span, 16 hexadecimal digits; ``None`` without tracing."""
    trace = exchange.get(TRACE)
    return None if trace is None else trace.span_id
