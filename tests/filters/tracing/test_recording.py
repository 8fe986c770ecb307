"""Recorded traces, from a client through the gateway and its origins to a receiver of OTLP."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from gatewayd import sign_header
from tests.support.in_process import serving
from tests.support.otlp_receiver import OtlpReceiver, attributes
from tests.support.process import free_port
from tests.support.sick_origin import SickOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.support.in_process import InProcessGateway

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
KEY = "a key of the operator"
SERVER, CLIENT = 2, 3  # of Span.SpanKind
ERROR = 2  # of Status.StatusCode


def config(endpoint: str, *origins: str, **settings: object) -> str:
    instances = ", ".join(f'{{ url = "{url}" }}' for url in origins)
    lines = {"endpoint": endpoint, "sample_ratio": 1, "interval": 0.01, **settings}
    tracing = "\n".join(f"{key} = {value!r}".lower() for key, value in lines.items())
    return f"""
pipeline.filters = ["tracing", "route_match", "retry", "balancer", "upstream"]
[filters.tracing]
{tracing}
[filters.retry]
attempts = 2
on = ["connect_failure", "reset", "503"]
backoff = {{ base = 0.001, max = 0.001 }}
[services.shop]
instances = [{instances}]
[[routes]]
name = "items"
path = "/items/{{id}}"
service = "shop"
"""


@asynccontextmanager
async def traced(
    folder: Path, receiver: OtlpReceiver, *origins: str, **settings: object
) -> AsyncIterator[tuple[InProcessGateway, aiohttp.ClientSession]]:
    text = config(receiver.endpoint, *origins, **settings)
    async with serving(text, folder) as gateway, aiohttp.ClientSession(gateway.url) as client:
        yield gateway, client


def of_kind(spans: list[Span], kind: int) -> list[Span]:
    return [span for span in spans if span.kind == kind]


async def ask(client: aiohttp.ClientSession, **headers: str) -> int:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.get("/items/7", headers=fields) as response:
        return response.status


async def test_a_trace_arrives_whole_and_linked_to_the_callers(tmp_path: Path) -> None:
    async with (
        OtlpReceiver() as receiver,
        SickOrigin() as origin,
        traced(tmp_path, receiver, origin.url) as (_, client),
    ):
        assert await ask(client, traceparent=PARENT) == 200
        spans = await receiver.wait_for(2)
    (server,), (attempt,) = of_kind(spans, SERVER), of_kind(spans, CLIENT)
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}
    assert server.parent_span_id.hex() == SPAN_ID
    assert attempt.parent_span_id == server.span_id
    (head,) = origin.requests
    assert f"traceparent: 00-{TRACE_ID}-{attempt.span_id.hex()}-01" in head


async def test_a_method_of_no_convention_is_in_no_name(tmp_path: Path) -> None:
    async with (
        OtlpReceiver() as receiver,
        SickOrigin() as origin,
        traced(tmp_path, receiver, origin.url) as (_, client),
    ):
        async with client.request("PROPFIND", "/items/7") as response:
            assert response.status == 200
        spans = await receiver.wait_for(2)
    (server,) = of_kind(spans, SERVER)
    assert server.name == "_OTHER /items/{id}"
    assert attributes(server)["http.request.method"] == "_OTHER"


@pytest.mark.parametrize("state", ["vendor=1,other=2", "Not a=member at all", "a=1,a=2"])
async def test_the_state_is_passed_on_and_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    async with (
        OtlpReceiver() as receiver,
        SickOrigin() as origin,
        traced(tmp_path, receiver, origin.url) as (_, client),
    ):
        assert await ask(client, traceparent=PARENT, tracestate=state) == 200
        await receiver.wait_for(2)
    (head,) = origin.requests
    assert f"tracestate: {state}" in head
    assert "opentelemetry" not in {record.name.partition(".")[0] for record in caplog.records}


@pytest.mark.parametrize("wanted", [True, False])
async def test_filters_have_spans_where_they_are_wanted_and_not_where_metrics_measures(
    tmp_path: Path, wanted: bool
) -> None:
    async with OtlpReceiver() as receiver, SickOrigin() as origin:
        text = config(receiver.endpoint, origin.url, filter_spans=wanted).replace(
            '["tracing"', '["metrics", "tracing"'
        )
        text += "[filters.metrics]\nfilter_sample_ratio = 1\n"
        async with serving(text, tmp_path) as gateway, aiohttp.ClientSession(gateway.url) as client:
            assert await ask(client) == 200
            await receiver.wait_for(2)
        names = {span.name for span in await receiver.wait_for(2)}  # all, as closing sends the rest
    assert ("filter upstream" in names) is wanted


async def test_each_attempt_has_a_span_of_its_own(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver, SickOrigin() as origin:
        origin.respond(503)
        async with traced(tmp_path, receiver, origin.url) as (_, client):
            assert await ask(client) == 503
            spans = await receiver.wait_for(3)
    first, second = sorted(of_kind(spans, CLIENT), key=lambda span: span.start_time_unix_nano)
    assert {attributes(span)["http.response.status_code"] for span in (first, second)} == {503}
    assert {span.status.code for span in (first, second)} == {ERROR}
    assert "http.request.resend_count" not in attributes(first)
    assert attributes(second)["http.request.resend_count"] == 1


async def test_an_attempt_that_finds_nobody_is_an_error(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with OtlpReceiver() as receiver, traced(tmp_path, receiver, nobody) as (_, client):
        assert await ask(client) == 502
        spans = await receiver.wait_for(2)
    (server,) = of_kind(spans, SERVER)
    assert attributes(of_kind(spans, CLIENT)[0])["error.type"] == "upstream_connect_failure"
    assert (server.status.code, attributes(server)["error.type"]) == (ERROR, "502")


async def test_spans_follow_the_semantic_conventions(tmp_path: Path) -> None:
    async with (
        OtlpReceiver() as receiver,
        SickOrigin() as origin,
        traced(tmp_path, receiver, origin.url) as (_, client),
    ):
        await ask(client, User_Agent="a browser")
        (server,) = of_kind(await receiver.wait_for(2), SERVER)
    found = attributes(server)
    request_id = found.pop("gatewayd.request.id")
    assert len(request_id) == 24
    assert (server.name, found) == (
        "GET /items/{id}",
        {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "/items/{id}",
            "url.scheme": "http",
            "url.path": "/items/7",
            "server.address": "127.0.0.1",
            "client.address": "127.0.0.1",
            "network.protocol.version": "1.1",
            "user_agent.original": "a browser",
            "gatewayd.route.name": "items",
            "gatewayd.service.name": "shop",
        },
    )
    assert receiver.resource["service.name"] == "gatewayd"


async def test_a_signed_field_forces_a_trace(tmp_path: Path) -> None:
    value = sign_header(KEY.encode(), "trace", int(time.time()) + 60)
    async with (
        OtlpReceiver() as receiver,
        SickOrigin() as origin,
        traced(tmp_path, receiver, origin.url, sample_ratio=0, force_key=KEY) as (gateway, client),
    ):
        await ask(client)
        await ask(client, X_Gatewayd_Trace="1.forged")
        await ask(client, X_Gatewayd_Trace=value)
        await gateway.close()
        spans = await receiver.wait_for(2)
    assert len(of_kind(spans, SERVER)) == 1


async def test_a_method_that_nobody_knows_is_no_name(tmp_path: Path) -> None:
    async with (
        OtlpReceiver() as receiver,
        SickOrigin() as origin,
        traced(tmp_path, receiver, origin.url) as (_, client),
        client.request("PROPFIND", "/elsewhere"),
    ):
        (server,) = await receiver.wait_for(1)
    assert server.name == "_OTHER"


def spans_counted(gateway: InProcessGateway, result: str) -> float:
    metrics = gateway.generations.current.gateway.metrics
    return metrics.counter("gatewayd_spans", "", ("result",)).labels(result).value


async def test_a_collector_that_is_away_costs_a_count(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}/v1/traces"
    async with SickOrigin() as origin:
        text = config(away, origin.url, export_timeout=0.1)
        async with serving(text, tmp_path) as gateway, aiohttp.ClientSession(gateway.url) as client:
            assert await ask(client) == 200
            await gateway.close()
            assert spans_counted(gateway, "dropped") == 2


async def test_a_collector_that_hangs_does_not_keep_the_gateway_from_ending(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver, SickOrigin() as origin:
        receiver.silent = True
        settings: dict[str, Any] = {"shutdown_timeout": 0.05, "export_timeout": 60}
        async with traced(tmp_path, receiver, origin.url, **settings) as (gateway, client):
            assert await ask(client) == 200
            await gateway.close()


async def test_spans_go_on_over_a_reload(tmp_path: Path) -> None:
    async with (
        OtlpReceiver() as receiver,
        SickOrigin() as origin,
        traced(tmp_path, receiver, origin.url) as (gateway, client),
    ):
        await ask(client)
        await gateway.adopt(config(receiver.endpoint, origin.url) + "\n[routing]\n")
        await ask(client)
        spans = await receiver.wait_for(4)
    assert len(of_kind(spans, SERVER)) == 2


async def test_headers_reach_the_collector(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver, SickOrigin() as origin:
        text = config(receiver.endpoint, origin.url) + "\n"
        text = text.replace("[filters.retry]", 'headers = { "X-Token" = "t" }\n[filters.retry]')
        async with serving(text, tmp_path) as gateway, aiohttp.ClientSession(gateway.url) as client:
            await ask(client)
            await receiver.wait_for(2)
    assert {name.lower(): value for name, value in receiver.requests[0].items()}["x-token"] == "t"
