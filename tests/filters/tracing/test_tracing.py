"""tracing: which trace an exchange belongs to, and what goes upstream of it."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from gatewayd import Peer, Reject, get_span_id, get_trace_id, new_trace, sign_header
from gatewayd.testing import Recorder, make_exchange, running
from gatewayd_filters.tracing import Tracing, TracingConfig

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00"
PROXY = Peer("198.51.100.7", trusted=True)
CLIENT = Peer("198.51.100.7")
KEY = "a key of the operator"


async def upstream_headers(
    headers: dict[str, str], settings: dict[str, object] | None = None, peer: Peer = CLIENT
) -> dict[str, str]:
    """Return what goes upstream of a request with these fields; nothing is recorded."""
    upstream = Recorder()
    async with running(Tracing, settings) as tracing:
        await tracing(make_exchange(headers=headers, peer=peer), upstream)
    return {name.lower(): value for name, value in upstream.request.headers}


async def test_passes_on_an_unsampled_trace_as_it_is() -> None:
    sent = await upstream_headers({"traceparent": UNSAMPLED, "tracestate": "vendor=1"})
    assert (sent["traceparent"], sent["tracestate"]) == (UNSAMPLED, "vendor=1")


async def test_passes_on_baggage() -> None:
    assert (await upstream_headers({"baggage": "tenant=7"}))["baggage"] == "tenant=7"


async def test_a_request_without_a_trace_gets_one_that_plugins_can_name() -> None:
    exchange = make_exchange()
    async with running(Tracing) as tracing:
        await tracing(exchange, Recorder())
    expected = f"00-{get_trace_id(exchange)}-{get_span_id(exchange)}-00"
    assert exchange.trace.traceparent.decode() == expected
    assert exchange.trace.added.decode() == f"traceparent: {expected}\r\n"


def test_traces_that_begin_here_differ_and_are_none_of_zeros() -> None:
    made = [new_trace() for _ in range(1000)]
    assert len({one.trace_id for one in made}) == len({one.span_id for one in made}) == 1000
    for one in made:
        assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", one.traceparent)
    assert not made[0].sampled


def test_without_the_filter_there_is_no_trace() -> None:
    exchange = make_exchange()
    assert (get_trace_id(exchange), get_span_id(exchange)) == (None, None)


@pytest.mark.parametrize(
    ("follow", "peer", "expected"),
    [
        ("trusted_peers", PROXY, SAMPLED),
        ("trusted_peers", CLIENT, UNSAMPLED),
        ("always", CLIENT, SAMPLED),
        ("never", PROXY, UNSAMPLED),
    ],
)
async def test_whose_decision_is_followed(follow: str, peer: Peer, expected: str) -> None:
    settings: dict[str, object] = {"follow": follow, "sample_ratio": 0}
    sent = await upstream_headers({"traceparent": SAMPLED}, settings, peer)
    assert sent["traceparent"] == expected


@pytest.mark.parametrize("broken", ["garbage", f"00-{'0' * 32}-{SPAN_ID}-01", ""])
async def test_a_broken_trace_is_replaced(broken: str) -> None:
    sent = await upstream_headers({"traceparent": broken, "tracestate": "vendor=1"})
    assert len(sent["traceparent"]) == len(UNSAMPLED)
    assert "tracestate" not in sent


async def test_b3_is_continued_in_the_form_of_w3c() -> None:
    sent = await upstream_headers({"b3": f"{TRACE_ID}-{SPAN_ID}-0"})
    assert sent["traceparent"] == UNSAMPLED
    assert "b3" not in sent


async def test_b3_in_several_fields_is_continued_in_the_form_of_w3c() -> None:
    fields = {"X-B3-TraceId": TRACE_ID, "X-B3-SpanId": SPAN_ID, "X-B3-Sampled": "0"}
    sent = await upstream_headers(fields)
    assert sent["traceparent"] == UNSAMPLED
    assert not [name for name in sent if name.startswith("x-b3")]


@pytest.mark.parametrize("key", [KEY, None])
async def test_the_field_that_forces_a_trace_does_not_go_upstream(key: str | None) -> None:
    value = sign_header(KEY.encode(), "trace", 2_000_000_000)
    sent = await upstream_headers({"X-Gatewayd-Trace": value}, {"force_key": key})
    assert "x-gatewayd-trace" not in sent


async def test_a_refusal_names_the_trace() -> None:
    exchange = make_exchange(headers={"traceparent": UNSAMPLED})
    async with running(Tracing) as tracing:
        with pytest.raises(Reject):
            await tracing(exchange, Recorder(Reject(403, "no", "No.")))
    assert exchange.trace.trace_id == TRACE_ID


@pytest.mark.parametrize(
    "settings",
    [
        {"endpoint": "collector:4318"},
        {"endpoint": "ftp://collector/v1/traces"},
        {"endpoint": "http://user:password@collector/v1/traces"},
        {"endpoint": "http://collector:99999/v1/traces"},
        {"sample_ratio": 1.1},
        {"sample_ratio": -0.1},
        {"force_key": "short"},
        {"batch_size": 20, "queue_size": 10},
        {"headers": {"bad name": "value"}},
    ],
)
def test_refuses_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TracingConfig.model_validate(settings)


def test_secrets_are_in_no_repr() -> None:
    config = TracingConfig(force_key=KEY, headers={"Authorization": "Bearer hidden"})
    assert KEY not in repr(config)
    assert "hidden" not in repr(config)
