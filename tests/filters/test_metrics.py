"""metrics: what is counted of an exchange, under which names, and that clients make no names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from pydantic import ValidationError

from gatewayd import (
    Cell,
    Exchange,
    Filter,
    FilterConfig,
    Gateway,
    Histogram,
    Metrics,
    Observation,
    Reject,
    Response,
    UpstreamReset,
)
from gatewayd.testing import FakeClock, Recorder, in_memory, make_exchange, make_gateway, running
from gatewayd_filters.metrics import MetricsConfig, MetricsFilter
from tests.support.in_process import serving
from tests.support.sick_origin import SickOrigin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable
    from pathlib import Path

    from gatewayd import Forward

PIPELINE = 'pipeline.filters = ["metrics", "shows", "route_match", "balancer", "upstream"]'
ROUTES = """
routes = [
  { name = "item", path = "/items/{id}", service = "shop" },
  { name = "order", path = "/orders", methods = ["POST"], service = "till" },
  { name = "old", path = "/old", redirect = { to = "/items" } },
]
[services.shop]
instances = [{ url = "http://127.0.0.1:9" }, { url = "http://127.0.0.1:10" }]
[services.till]
instances = [{ url = "http://127.0.0.1:9" }]
"""
REAL = """
pipeline.filters = ["metrics", "route_match", "retry", "balancer", "upstream"]
routes = [{{ name = "item", path = "/items/{{id}}", service = "shop" }}]
[services.shop]
instances = [{instances}]
[filters.retry]
attempts = 2
backoff = {{ base = 0.001, max = 0.001 }}
"""

LABELS = ("route", "service", "method", "code")


def showing(seen: list[Metrics]) -> type[Filter[FilterConfig]]:
    """Make a filter that shows a test the gateway's metrics."""

    class Shows(Filter[FilterConfig]):
        """Shows the metrics."""

        name = "shows"

        def __init__(self, config: FilterConfig, gateway: Gateway) -> None:
            super().__init__(config, gateway)
            seen.append(gateway.metrics)

        def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
            return forward(exchange)

    return Shows


async def counted(
    *requests: tuple[str, str],
    settings: str = "",
    pipeline: str = PIPELINE,
    upstream: Forward | None = None,
    clock: FakeClock | None = None,
) -> Metrics:
    """Return what is counted after some requests."""
    seen: list[Metrics] = []
    text = f"{pipeline}\n{settings}\n{ROUTES}"
    filters = [showing(seen)]
    async with in_memory(text, upstream=upstream, clock=clock, filters=filters) as gateway:
        for method, target in requests:
            await gateway.send(method, target)
    return seen[0]


def cells(metrics: Metrics, name: str) -> dict[tuple[str, ...], Any]:
    """Return the numbers of a family that are not 0, by the values of its labels."""
    (family,) = (one for one in metrics.read() if one.name == name)
    return {
        labels: cell.value
        for labels, cell in family.cells().items()
        if isinstance(cell, Cell) and cell.value
    }


def histogram(metrics: Metrics, name: str, label: str) -> Histogram:
    (family,) = (one for one in metrics.read() if one.name == name)
    found = family.cells()[label,]
    assert isinstance(found, Histogram)
    return found


async def finished(metrics: MetricsFilter, exchanges: Iterable[Exchange]) -> None:
    metrics.report(list(exchanges))


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/items/1", ("item", "shop", "GET", "200")),
        ("POST", "/orders", ("order", "till", "POST", "200")),
        ("GET", "/old", ("old", "", "GET", "308")),
        ("GET", "/nowhere", ("", "", "GET", "404")),
        ("GET", "/orders", ("", "", "GET", "405")),
        ("BREW", "/items/1", ("item", "shop", "_OTHER", "200")),
        ("get", "/items/1", ("item", "shop", "_OTHER", "200")),
    ],
)
async def test_counts_by_route_service_method_and_code(
    method: str, target: str, expected: tuple[str, ...]
) -> None:
    metrics = await counted((method, target))
    assert cells(metrics, "gatewayd_requests") == {expected: 1}


async def test_counts_add_up() -> None:
    metrics = await counted(("GET", "/items/1"), ("GET", "/items/2"), ("PUT", "/items/1"))
    assert cells(metrics, "gatewayd_requests") == {
        ("item", "shop", "GET", "200"): 2,
        ("item", "shop", "PUT", "200"): 1,
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_methods_of_the_standard_keep_their_names(method: str) -> None:
    metrics = await counted((method, "/items/1"))
    assert list(cells(metrics, "gatewayd_requests")) == [("item", "shop", method, "200")]


@pytest.mark.parametrize(
    ("target", "error", "code", "route", "status"),
    [
        ("/nowhere", Reject(403, "no"), "route_not_found", "", "404"),
        ("/items/1", Reject(403, "no"), "no", "item", "403"),
        ("/items/1", UpstreamReset("test", sent=True), "upstream_reset", "item", "502"),
        ("/items/1", RuntimeError("a bug"), "internal_error", "item", "500"),
    ],
)
async def test_refusals_are_counted_by_their_code(
    target: str, error: Exception, code: str, route: str, status: str
) -> None:
    metrics = await counted(("GET", target), upstream=Recorder(error))
    assert cells(metrics, "gatewayd_refusals") == {(code, route): 1}
    assert [labels[3] for labels in cells(metrics, "gatewayd_requests")] == [status]


async def test_an_error_of_the_upstream_s_own_is_no_refusal() -> None:
    metrics = await counted(("GET", "/items/1"), upstream=Recorder(Response(404)))
    assert cells(metrics, "gatewayd_refusals") == {}


async def test_without_a_response_the_client_has_left() -> None:
    gateway = make_gateway()
    async with running(MetricsFilter, gateway=gateway) as metrics:
        exchange = make_exchange()
        exchange.error = ConnectionResetError("gone")
        metrics.report([exchange])
    assert cells(gateway.metrics, "gatewayd_requests") == {("", "", "GET", "499"): 1}


async def test_nothing_is_counted_before_the_exchange_has_ended() -> None:
    gateway = make_gateway()
    async with running(MetricsFilter, gateway=gateway) as metrics:
        await metrics(make_exchange(), Recorder())
        assert cells(gateway.metrics, "gatewayd_requests") == {}


async def test_durations_go_by_the_gateway_s_clock() -> None:
    clock = FakeClock()

    def answer(exchange: Exchange) -> Response:
        clock.advance(0.25)
        exchange.attempts, exchange.upstream_seconds = 1, 0.125
        return Response(200)

    metrics = await counted(("GET", "/items/1"), upstream=Recorder(answer), clock=clock)
    assert histogram(metrics, "gatewayd_request_seconds", "item").sum == 0.25
    assert histogram(metrics, "gatewayd_upstream_seconds", "shop").sum == 0.125


@pytest.mark.parametrize(
    ("seconds", "counts"), [(0.0, [1, 0, 0]), (0.5, [1, 0, 0]), (1, [0, 1, 0]), (3, [0, 0, 1])]
)
async def test_durations_fall_into_the_buckets_of_the_settings(
    seconds: float, counts: list[int]
) -> None:
    clock = FakeClock()

    def answer(exchange: Exchange) -> Response:
        clock.advance(seconds)
        return Response(200)

    metrics = await counted(
        ("GET", "/items/1"),
        settings="filters.metrics.buckets = [0.5, 2]",
        upstream=Recorder(answer),
        clock=clock,
    )
    found = histogram(metrics, "gatewayd_request_seconds", "item")
    assert (list(found.bounds), found.counts) == ([0.5, 2], counts)


async def test_what_went_to_no_instance_has_no_attempts() -> None:
    metrics = await counted(("GET", "/nowhere"))
    assert cells(metrics, "gatewayd_upstream_attempts") == {}
    (family,) = (one for one in metrics.read() if one.name == "gatewayd_upstream_seconds")
    assert not any(sum(cell.counts) for cell in family.cells().values())


async def test_a_second_attempt_is_a_retry() -> None:
    answers = Recorder(UpstreamReset("test", sent=False), Response(200))

    async def upstream(exchange: Exchange) -> Response:
        exchange.attempts += 1
        return await answers(exchange)

    pipeline = PIPELINE.replace('"balancer"', '"retry", "balancer"')
    settings = "filters.retry.backoff = { base = 0.001, max = 0.001 }"
    metrics = await counted(
        ("GET", "/items/1"), settings=settings, pipeline=pipeline, upstream=upstream
    )
    assert cells(metrics, "gatewayd_requests") == {("item", "shop", "GET", "200"): 1}
    assert cells(metrics, "gatewayd_upstream_attempts") == {("shop",): 2}
    assert cells(metrics, "gatewayd_retries") == {("shop",): 1}


async def real(folder: Path, *origins: SickOrigin) -> Metrics:
    """Return what is counted after one request over sockets."""
    instances = ", ".join(f'{{ url = "{origin.url}" }}' for origin in origins)
    config = REAL.format(instances=instances)
    async with serving(config, folder) as gateway, aiohttp.ClientSession(gateway.url) as client:
        metrics = gateway.generations.current.gateway.metrics
        async with client.get("/items/1") as response:
            await response.read()
    return metrics


async def test_attempts_at_two_instances_over_sockets(tmp_path: Path) -> None:
    async with SickOrigin() as first, SickOrigin() as second:
        first.respond(503)
        second.respond(503)
        metrics = await real(tmp_path, first, second)
    assert cells(metrics, "gatewayd_upstream_attempts") == {("shop",): 2}
    assert cells(metrics, "gatewayd_retries") == {("shop",): 1}
    assert cells(metrics, "gatewayd_requests") == {("item", "shop", "GET", "503"): 1}


async def test_bytes_of_bodies_are_counted_as_they_are_sent(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    async with SickOrigin(answer) as origin:
        metrics = await real(tmp_path, origin)
    assert cells(metrics, "gatewayd_response_bytes") == {("item",): 5}


async def test_every_filter_is_measured_where_all_exchanges_are() -> None:
    settings = "filters.metrics.filter_sample_ratio = 1"
    metrics = await counted(("GET", "/items/1"), ("GET", "/nowhere"), settings=settings)
    assert cells(metrics, "gatewayd_filter_runs") == {
        ("metrics",): 2,
        ("shows",): 2,
        ("route_match",): 2,
        ("balancer",): 1,
        ("upstream",): 1,
    }


async def test_time_on_the_loop_is_at_least_the_longest_step() -> None:
    settings = "filters.metrics.filter_sample_ratio = 1"
    metrics = await counted(("GET", "/items/1"), settings=settings)
    taken = cells(metrics, "gatewayd_filter_loop_seconds")
    longest = cells(metrics, "gatewayd_filter_longest_step_seconds")
    assert len(longest) == 5
    assert all(0 < longest[name] <= taken[name] for name in longest)


async def test_only_who_waits_has_time_in_which_it_waits() -> None:
    async def upstream(exchange: Exchange) -> Response:
        await asyncio.sleep(0)
        return Response(200)

    settings = "filters.metrics.filter_sample_ratio = 1"
    metrics = await counted(("GET", "/items/1"), settings=settings, upstream=upstream)
    assert list(cells(metrics, "gatewayd_filter_wait_seconds")) == [("upstream",)]


@pytest.mark.parametrize("at_once", [1, 64])
async def test_a_small_share_is_measured_however_many_are_reported_at_once(at_once: int) -> None:
    gateway = make_gateway()
    asked: list[Observation] = []
    gateway.observe_next = asked.append
    exchanges = [make_exchange()] * at_once
    async with running(MetricsFilter, {"filter_sample_ratio": 0.01}, gateway=gateway) as metrics:
        for _ in range(64_000 // at_once):
            metrics.report(exchanges)
    assert 500 < len(asked) < 800  # of 640 that are to be expected; the deviation is some 15


async def test_a_large_share_is_measured() -> None:
    settings = "filters.metrics.filter_sample_ratio = 0.5"
    metrics = await counted(*[("GET", "/items/1")] * 400, settings=settings)
    assert 120 < cells(metrics, "gatewayd_filter_runs")["upstream",] < 280


async def test_no_filter_is_measured_where_nobody_asks() -> None:
    settings = "filters.metrics.filter_sample_ratio = 0"
    metrics = await counted(("GET", "/items/1"), settings=settings)
    assert cells(metrics, "gatewayd_filter_runs") == {}


async def test_numbers_of_few_exchanges_wait_to_be_counted() -> None:
    gateway = make_gateway()
    async with running(MetricsFilter, gateway=gateway) as metrics:
        for _ in range(100):
            metrics.report([make_exchange("PUT")] * 64)
        requests = gateway.metrics.counter("gatewayd_requests", "", LABELS)
        counted = requests.labels("", "", "PUT", "499").value
        assert 6400 - 4096 <= counted < 6400
        assert cells(gateway.metrics, "gatewayd_requests") == {("", "", "PUT", "499"): 6400}


async def test_what_was_not_counted_is_counted_at_the_end() -> None:
    gateway = make_gateway()
    async with running(MetricsFilter, gateway=gateway) as metrics:
        metrics.report([make_exchange("PUT")] * 64)
        requests = gateway.metrics.counter("gatewayd_requests", "", LABELS)
        assert requests.labels("", "", "PUT", "499").value == 0
    assert requests.labels("", "", "PUT", "499").value == 64


async def test_a_report_that_fails_half_way_loses_nothing_else() -> None:
    gateway = make_gateway()
    async with running(MetricsFilter, gateway=gateway) as metrics:
        broken = make_exchange()
        broken.sent = "many"  # as another filter may have left it
        with pytest.raises(TypeError):
            metrics.report([*[make_exchange("PUT")] * 10, broken])
        metrics.report([make_exchange("PUT")] * 64)
        counted = cells(gateway.metrics, "gatewayd_requests")
        assert counted["", "", "PUT", "499"] == 74


async def test_methods_of_clients_make_no_series() -> None:
    gateway = make_gateway()
    async with running(MetricsFilter, gateway=gateway) as metrics:
        await finished(metrics, (make_exchange(f"M{index}") for index in range(20_000)))
    assert cells(gateway.metrics, "gatewayd_requests") == {("", "", "_OTHER", "499"): 20_000}


async def test_codes_of_plugins_make_a_bounded_number_of_series() -> None:
    def refused(code: str) -> Exchange:
        exchange = make_exchange()
        exchange.response, exchange.refusal = Response(400), Reject(400, code)
        return exchange

    gateway = make_gateway()
    async with running(MetricsFilter, gateway=gateway) as metrics:
        await finished(metrics, (refused(f"code_{index}") for index in range(5000)))
    series = cells(gateway.metrics, "gatewayd_refusals")
    assert (len(series), sum(series.values())) == (4097, 5000)
    assert series["other", "other"] == 5000 - 4096


async def test_counts_outlive_a_reload(tmp_path: Path) -> None:
    config = REAL.format(instances='{ url = "http://127.0.0.1:9" }')
    async with serving(config, tmp_path) as gateway, aiohttp.ClientSession(gateway.url) as client:
        for _ in range(2):
            async with client.get("/nowhere") as response:
                await response.read()
            await gateway.adopt(config)
        metrics = gateway.generations.current.gateway.metrics
    assert cells(metrics, "gatewayd_requests") == {("", "", "GET", "404"): 2}


@pytest.mark.parametrize(
    "settings",
    [
        {"buckets": []},
        {"buckets": [1, 0.5]},
        {"buckets": [0.5, 0.5]},
        {"buckets": [0, 1]},
        {"buckets": [-1, 1]},
        {"buckets": [1, float("inf")]},
        {"buckets": [float("nan")]},
        {"buckets": list(range(1, 66))},
        {"filter_sample_ratio": 1.5},
        {"filter_sample_ratio": -0.1},
        {"unknown": 1},
    ],
)
def test_refuses_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MetricsConfig.model_validate(settings)
