"""The trace of an exchange, for filters and plugin authors."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from gatewayd.exchange import Key
from gatewayd.telemetry.trace_context import TraceContext

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def _trace_ids() -> Iterator[str]:
    """Draw trace ids, many at once, which takes a third of the time for each.

    All zeros are forbidden, and not to be expected of so many random bits.
    """
    while True:
        digits = os.urandom(16 * _DRAWN).hex()
        for start in range(0, len(digits), 32):
            yield digits[start : start + 32]


_DRAWN = 64
_next_trace_id = _trace_ids().__next__


class NewTrace(Trace):
    """A trace that begins here and that nobody records, as most do."""

    __slots__ = ()

    sampled = False
    state = b""

    def __init__(self) -> None:
        self.trace_id = digits = _next_trace_id()
        # Unique within its trace, which has no other span of ours; another draw takes 0.2 us more.
        self.span_id = digits[16:]

    @property
    def added(self) -> bytes:  # type: ignore[override]
        """See :class:`Trace`."""
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
