"""The trace that an exchange belongs to: read from and written to header fields.

Read are W3C Trace Context (``traceparent`` and ``tracestate``) and B3 in both its forms; written is
W3C only. Whatever is malformed is as if it were not there, as both specifications ask for: a broken
field of a client must not break the request.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_STATE_BYTES = 512
"""Longest ``tracestate`` that is passed on; as much as W3C (section 3.3.1.5) asks everybody for."""

MAX_STATE_MEMBERS = 32
"""Most members of a ``tracestate`` (section 3.3.1.1)."""

# Trace Context section 3.2. A later version may have more behind the flags; "ff" is forbidden.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})"
    r"-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED = frozenset("13579bdf")  # last digits of flags whose lowest bit is set
_B3 = re.compile(
    rb"(?P<trace>[0-9a-f]{16}(?:[0-9a-f]{16})?)-(?P<span>[0-9a-f]{16})"
    rb"(?:-(?P<sampled>[01d]))?(?:-[0-9a-f]{16})?"
)
_HEX_16_32 = re.compile(rb"[0-9a-f]{16}(?:[0-9a-f]{16})?")
_HEX_16 = re.compile(rb"[0-9a-f]{16}")


class TraceContext(Struct, eq=False, gc=False):
    """One place in a trace: that of the span from which something is called.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        span_id: 16 of them.
        sampled: Whether spans are recorded; ``None`` in what was read where the caller leaves it
            open, as B3 can.
        state: ``tracestate`` of other vendors, passed on as it is; ``b""`` for none.

    """

    trace_id: str
    span_id: str
    sampled: bool | None
    state: bytes = b""

    @property
    def traceparent(self) -> bytes:
        """The W3C field's value."""
        flags = "01" if self.sampled else "00"
        return f"00-{self.trace_id}-{self.span_id}-{flags}".encode("ascii")

    def __repr__(self) -> str:
        return f"<trace {self.trace_id} span {self.span_id}>"


def read_trace_context(fields: Mapping[bytes, bytes]) -> TraceContext | None:
    """Return the caller's place in its trace, ``None`` where none is told.

    Args:
        fields: Header fields by lower-case name, as :attr:`gatewayd.Headers.index`.

    W3C wins over B3, and B3's single field over its several ones.
    """
    value = fields.get(b"traceparent")
    if value is not None:
        return _read_w3c(value, fields.get(b"tracestate", b""))
    value = fields.get(b"b3")
    if value is not None:
        return _read_b3(value)
    if b"x-b3-traceid" in fields:
        return _read_b3_fields(fields)
    return None


def _read_w3c(value: bytes, state: bytes) -> TraceContext | None:
    found = _TRACEPARENT.fullmatch(value.decode("latin-1"))
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "00" and more is not None:
        return None
    if len(state) > MAX_STATE_BYTES or state.count(b",") >= MAX_STATE_MEMBERS:
        state = b""
    return TraceContext(trace, span, flags[1] in _SAMPLED, state)


def _read_b3(value: bytes) -> TraceContext | None:
    found = _B3.fullmatch(value)
    if found is None:
        return None  # also a lone "0", which says only that nothing is sampled
    sampled = None if found["sampled"] is None else found["sampled"] != b"0"
    return _of_b3(found["trace"], found["span"], sampled)


def _read_b3_fields(fields: Mapping[bytes, bytes]) -> TraceContext | None:
    trace, span = fields[b"x-b3-traceid"], fields.get(b"x-b3-spanid", b"")
    if not _HEX_16_32.fullmatch(trace) or not _HEX_16.fullmatch(span):
        return None
    if fields.get(b"x-b3-flags") == b"1":  # "debug", which implies sampling
        return _of_b3(trace, span, True)
    sampled = {b"1": True, b"true": True, b"0": False, b"false": False}
    return _of_b3(trace, span, sampled.get(fields.get(b"x-b3-sampled", b"")))


def _of_b3(trace: bytes, span: bytes, sampled: bool | None) -> TraceContext | None:
    trace_id, span_id = trace.decode().zfill(32), span.decode()
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, sampled)
