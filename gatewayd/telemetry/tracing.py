"""The trace of an exchange, for filters and plugin authors."""

from __future__ import annotations

from contextlib import nullcontext
from random import getrandbits
from typing import TYPE_CHECKING

from gatewayd.exchange import Key
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

    added = b""
    """Field line that tells the upstream of it, where the request does not have it already."""

    def attempt(self, instance: Instance) -> AbstractContextManager[Attempt]:  # noqa: ARG002
        """Surround one attempt at an instance; what it raises is noted and goes on."""
        return nullcontext(Attempt(self.traceparent))


class NewTrace(Trace):
    """A trace that begins here and that nobody records, as most do.

    It is the field line that the upstream gets, made in one step; ids are cut out of it where
    somebody asks for them. (With a :class:`Trace`, and the line added to the request's fields, it
    took 2 us more.)
    """

    __slots__ = ("added",)

    sampled = False
    state = b""

    def __init__(self) -> None:
        # All zeros are forbidden, and not to be expected of so many bits.
        self.added = b"traceparent: 00-%032x-%016x-00\r\n" % (
            getrandbits(128) or 1, getrandbits(64) or 1,
        )  # fmt: skip

    @property
    def trace_id(self) -> str:  # type: ignore[override]
        """See :class:`TraceContext`."""
        return self.added[16:48].decode()

    @property
    def span_id(self) -> str:  # type: ignore[override]
        """See :class:`TraceContext`."""
        return self.added[49:65].decode()

    @property
    def traceparent(self) -> bytes:
        """See :class:`TraceContext`."""
        return self.added[13:-2]


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
