"""Reading the caller's place in its trace from whatever it sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.telemetry.trace_context import TraceContext, read_trace_context

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
ZERO_TRACE, ZERO_SPAN = "0" * 32, "0" * 16


def read(**fields: str) -> TraceContext | None:
    return read_trace_context(
        {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
    )


def facts(context: TraceContext | None) -> tuple[str, str, bool | None] | None:
    return context and (context.trace_id, context.span_id, context.sampled)


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # the random flag of level 2 beside it
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01", True),  # a version to come
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_reads_traceparent(value: str, sampled: bool) -> None:
    assert facts(read(traceparent=value)) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{ZERO_TRACE}-{SPAN}-01",
        f"00-{TRACE}-{ZERO_SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",  # two lines
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_ignores_what_is_no_traceparent(value: str) -> None:
    assert read(traceparent=value) is None


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("vendor=value", "vendor=value"),
        ("a=1, b=2", "a=1, b=2"),
        ("k=" + "v" * 510, "k=" + "v" * 510),
        ("k=" + "v" * 511, ""),
        (",".join(f"k{number}=v" for number in range(32)),) * 2,
        (",".join(f"k{number}=v" for number in range(33)), ""),
    ],
)
def test_bounds_tracestate(state: str, kept: str) -> None:
    context = read(traceparent=f"00-{TRACE}-{SPAN}-01", tracestate=state)
    assert context is not None
    assert context.state == kept.encode()


def test_tracestate_alone_is_nothing() -> None:
    assert read(tracestate="vendor=value") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{TRACE}-{SPAN}-1", (TRACE, SPAN, True)),
        (f"{TRACE}-{SPAN}-d", (TRACE, SPAN, True)),
        (f"{TRACE}-{SPAN}-0", (TRACE, SPAN, False)),
        (f"{TRACE}-{SPAN}", (TRACE, SPAN, None)),
        (f"{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90", (TRACE, SPAN, True)),
        (f"{TRACE[16:]}-{SPAN}-1", ("0" * 16 + TRACE[16:], SPAN, True)),
        ("0", None),
        ("1", None),
        (f"{ZERO_TRACE}-{SPAN}-1", None),
        (f"{TRACE}-{ZERO_SPAN}-1", None),
        (f"{TRACE}-{SPAN}-2", None),
        (f"{TRACE[:20]}-{SPAN}-1", None),
        (f"{TRACE}", None),
    ],
)
def test_reads_b3_in_one_field(value: str, expected: tuple[str, str, bool | None] | None) -> None:
    assert facts(read(b3=value)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"x_b3_sampled": "1"}, (TRACE, SPAN, True)),
        ({"x_b3_sampled": "true"}, (TRACE, SPAN, True)),
        ({"x_b3_sampled": "0"}, (TRACE, SPAN, False)),
        ({"x_b3_sampled": "maybe"}, (TRACE, SPAN, None)),
        ({}, (TRACE, SPAN, None)),
        ({"x_b3_flags": "1"}, (TRACE, SPAN, True)),
        ({"x_b3_flags": "1", "x_b3_sampled": "0"}, (TRACE, SPAN, True)),
        ({"x_b3_spanid": "short"}, None),
        ({"x_b3_traceid": "no hex"}, None),
        ({"x_b3_traceid": ZERO_TRACE}, None),
    ],
)
def test_reads_b3_in_several_fields(
    fields: dict[str, str], expected: tuple[str, str, bool | None] | None
) -> None:
    assert facts(read(**({"x_b3_traceid": TRACE, "x_b3_spanid": SPAN} | fields))) == expected


def test_b3_without_a_span_is_nothing() -> None:
    assert read(x_b3_traceid=TRACE) is None


def test_w3c_wins_over_b3() -> None:
    context = read(traceparent=f"00-{TRACE}-{SPAN}-00", b3=f"{'a' * 32}-{'b' * 16}-1")
    assert facts(context) == (TRACE, SPAN, False)


def test_writes_what_it_reads() -> None:
    value = f"00-{TRACE}-{SPAN}-01"
    context = read(traceparent=value)
    assert context is not None
    assert context.traceparent.decode() == value


@given(
    st.dictionaries(
        st.sampled_from([b"traceparent", b"tracestate", b"b3", b"x-b3-traceid", b"x-b3-spanid"]),
        st.binary(max_size=200) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-.*"),
    )
)
def test_reads_anything_without_failing(fields: dict[bytes, bytes]) -> None:
    context = read_trace_context(fields)
    if context is not None:
        written = {b"traceparent": context.traceparent}
        assert facts(read_trace_context(written)) == (
            context.trace_id,
            context.span_id,
            bool(context.sampled),
        )
