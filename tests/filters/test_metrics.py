from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gatewayd import ConnectFailure, Exchange, Response
from gatewayd.telemetry.exposition import snapshot
from gatewayd.testing import FakeClock, Recorder, in_memory, make_exchange, make_gateway, running
from gatewayd_filters.metrics import MetricsConfig, MetricsFilter

if TYPE_CHECKING:
    from gatewayd import Forward
    from gatewayd.testing.in_memory import InMemoryGateway

CONFIG = """
pipeline.filters = ["metrics", "route_match", "retry", "balancer", "upstream"]
filters.metrics.filter_sample_ratio = {ratio}
filters.retry = {{ attempts = 2, backoff = {{ base = 0.001, max = 0.001 }} }}
services.origin.instances = [
  {{ url = "http://127.0.0.1:9" }}, {{ url = "http://127.0.0.1:10" }},
]
routes = [{{ name = "items", path = "/items", service = "origin" }}]
"""
Cells = dict[tuple[str, ...], list[float]]


async def cells(gateway: InMemoryGateway, name: str) -> Cells:
    """Return the cells of a family by their label values."""
    described: Any = await snapshot(gateway._generations.kept.metrics)
    return {tuple(values): numbers for values, numbers in described[name]["cells"]}


async def counted(
    name: str,
    *requests: tuple[str, str],
    upstream: Forward | None = None,
    ratio: float = 0,
    clock: FakeClock | None = None,
) -> Cells:
    """Send requests; returns the cells of a family after them."""
    config = CONFIG.format(ratio=ratio)
    async with in_memory(config, upstream=upstream, clock=clock) as gateway:
        for method, target in requests:
            await gateway.send(method, target)
        return await cells(gateway, name)


async def test_counts_by_route_service_method_and_status() -> None:
    assert await counted(
        "gatewayd_requests", ("GET", "/items"), ("GET", "/items/1"), ("POST", "/items"),
        ("GET", "/nowhere"),
    ) == {
        ("items", "origin", "GET", "200"): [2],
        ("items", "origin", "POST", "200"): [1],
        ("", "", "GET", "404"): [1],
    }  # fmt: skip


async def test_methods_that_clients_make_up_are_one() -> None:
    requests = [(f"METHOD{number}", "/items") for number in range(50)]
    found = await counted("gatewayd_requests", *requests)
    assert found == {("items", "origin", "_OTHER", "200"): [50]}


async def test_counts_refusals_by_their_code() -> None:
    found = await counted("gatewayd_refusals", ("GET", "/nowhere"), ("GET", "/items"))
    assert found == {("route_not_found", ""): [1]}


async def test_counts_attempts_and_retries() -> None:
    tries = 0

    async def upstream(exchange: Exchange) -> Response:
        nonlocal tries
        tries += 1
        exchange.attempts += 1
        if tries == 1:
            raise ConnectFailure("refused", sent=False)
        return Response(200)

    async with in_memory(CONFIG.format(ratio=0), upstream=upstream) as gateway:
        await gateway.send("GET", "/items")
        assert await cells(gateway, "gatewayd_upstream_attempts") == {("origin",): [2]}
        assert await cells(gateway, "gatewayd_retries") == {("origin",): [1]}


async def test_measures_until_the_exchange_has_ended() -> None:
    clock = FakeClock()

    async def upstream(_: Exchange) -> Response:
        clock.advance(0.3)
        return Response(200)

    found = await counted(
        "gatewayd_request_seconds", ("GET", "/items"), upstream=upstream, clock=clock
    )
    *counts, total = found["items",]
    bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5]
    assert counts.index(1) == bounds.index(0.5)
    assert total == pytest.approx(0.3)


async def test_measures_attempts() -> None:
    async def upstream(exchange: Exchange) -> Response:
        exchange.attempts, exchange.upstream_seconds = 1, 0.02
        return Response(200)

    found = await counted("gatewayd_upstream_seconds", ("GET", "/items"), upstream=upstream)
    assert found["origin",][-1] == pytest.approx(0.02)


async def finish(exchange: Exchange, error: BaseException | None = None) -> Cells:
    gateway = make_gateway()
    async with running(MetricsFilter, gateway=gateway) as metrics:
        await metrics(exchange, Recorder())
        exchange.finish(error)
    described: Any = await snapshot(gateway.metrics)
    return {tuple(key): value for key, value in described["gatewayd_requests"]["cells"]}


async def test_a_client_that_left_has_the_status_of_nginx() -> None:
    found = await finish(make_exchange(), ConnectionResetError())
    assert found == {("", "", "GET", "499"): [1]}


async def test_counts_bytes_of_bodies() -> None:
    gateway = make_gateway()
    exchange = make_exchange()
    exchange.sent = 250
    async with running(MetricsFilter, gateway=gateway) as metrics:
        await metrics(exchange, Recorder())
        exchange.finish()
    described: Any = await snapshot(gateway.metrics)
    assert described["gatewayd_response_bytes"]["cells"] == [([""], [250])]


@pytest.mark.parametrize(("ratio", "runs"), [(0, 0), (1, 3)])
async def test_filters_are_timed_for_a_share_of_the_exchanges(ratio: float, runs: int) -> None:
    requests = [("GET", "/items")] * 3
    found = await counted("gatewayd_filter_runs", *requests, ratio=ratio)
    assert found.get(("route_match",), [0]) == [runs]
    assert ("upstream",) in found or not ratio


@pytest.mark.parametrize("buckets", [[], [2, 1], [1, 1], [0], [-1], [float("inf")]])
def test_bounds_that_are_none(buckets: list[float]) -> None:
    with pytest.raises(ValidationError):
        MetricsConfig.model_validate({"buckets": buckets})
