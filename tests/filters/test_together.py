"""The built-in filters with each other, in a gateway that has routes."""

from __future__ import annotations

import json

import pytest

from gatewayd import Headers, Reject, Response
from gatewayd.testing import Recorder, in_memory, read_body

PIPELINE = """
pipeline.filters = [
  "request_id", "ops", "route_match", "cors", "ip_filter", "body_limit", "headers",
  "balancer", "upstream",
]
"""
CORS_FIRST = """
pipeline.filters = ["request_id", "cors", "route_match", "balancer", "upstream"]
services.origin.instances = [{ url = "http://127.0.0.1:9" }]
filters.cors.allow_origins = ["https://app.example.org"]
routes = [{ name = "project", path = "/projects", methods = ["PUT"], service = "origin" }]
"""
ROUTES = """
services.origin.instances = [{ url = "http://127.0.0.1:9" }]
filters.cors.allow_origins = ["https://app.example.org"]
filters.headers.request.set = { "X-Project" = "{params.project}", "X-Route" = "{route.name}" }
filters.body_limit.max_bytes = 10

[[routes]]
name = "project"
path = "/projects/{project}"
methods = ["GET", "PUT"]
service = "origin"

[[routes]]
name = "uploads"
path = "/uploads"
service = "origin"
filters.body_limit.max_bytes = 100

[[routes]]
name = "internal"
path = "/internal"
service = "origin"
filters.ip_filter.allow = ["10.0.0.0/8"]
filters.cors = false
"""
PREFLIGHT = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "PUT"}


async def test_a_preflight_is_answered_for_a_route_without_options() -> None:
    upstream = Recorder()
    async with in_memory(PIPELINE + ROUTES, upstream=upstream) as gateway:
        response = await gateway.send("OPTIONS", "/projects/7", headers=PREFLIGHT)
    assert response.status == 204
    assert response.headers.get("Access-Control-Allow-Origin") == "https://app.example.org"
    assert not upstream.exchanges


async def test_a_preflight_of_another_origin_is_refused_with_an_id() -> None:
    async with in_memory(PIPELINE + ROUTES) as gateway:
        headers = PREFLIGHT | {"Origin": "https://evil.test"}
        response = await gateway.send("OPTIONS", "/projects/7", headers=headers)
    assert response.status == 403
    problem = json.loads(await read_body(response))
    assert response.headers.get("X-Request-Id") == problem["request_id"]


async def test_a_preflight_for_a_method_that_no_route_takes_is_refused() -> None:
    async with in_memory(PIPELINE + ROUTES) as gateway:
        headers = PREFLIGHT | {"Access-Control-Request-Method": "DELETE"}
        assert (await gateway.send("OPTIONS", "/projects/7", headers=headers)).status == 405


@pytest.mark.parametrize("target", ["/projects/7", "/nowhere"])
async def test_before_route_match_cors_answers_for_all_routes(target: str) -> None:
    async with in_memory(CORS_FIRST) as gateway:
        response = await gateway.send("PUT", target, headers={"Origin": PREFLIGHT["Origin"]})
        assert response.headers.get("Access-Control-Allow-Origin") == PREFLIGHT["Origin"]
        assert (await gateway.send("OPTIONS", target, headers=PREFLIGHT)).status == 204


async def test_refusals_of_cors_itself_carry_the_request_id() -> None:
    async with in_memory(CORS_FIRST) as gateway:
        headers = PREFLIGHT | {"Origin": "https://evil.test"}
        response = await gateway.send("OPTIONS", "/projects/7", headers=headers)
    assert response.status == 403
    assert "X-Request-Id" in response.headers


async def test_without_cors_on_the_route_a_preflight_reaches_the_service() -> None:
    upstream = Recorder()
    async with in_memory(PIPELINE + ROUTES, upstream=upstream) as gateway:
        await gateway.send("OPTIONS", "/internal", headers=PREFLIGHT, peer="10.1.1.1")
    assert len(upstream.exchanges) == 1


async def test_values_come_from_the_matched_route() -> None:
    upstream = Recorder()
    async with in_memory(PIPELINE + ROUTES, upstream=upstream) as gateway:
        await gateway.send("GET", "/projects/caf%C3%A9", headers={"X-Project": "forged"})
        await gateway.send("GET", "/uploads", headers={"X-Project": "forged"})
    first, second = (exchange.request.headers for exchange in upstream.exchanges)
    assert first.get_all("X-Project") == ["caf%C3%A9"]
    assert first.get("X-Route") == "project"
    assert "X-Project" not in second


@pytest.mark.parametrize(
    ("target", "length", "status"),
    [("/projects/7", 10, 200), ("/projects/7", 11, 413), ("/uploads", 100, 200),
     ("/uploads", 101, 413)],
)  # fmt: skip
async def test_limits_are_the_route_s(target: str, length: int, status: int) -> None:
    async with in_memory(PIPELINE + ROUTES) as gateway:
        assert (await gateway.send("PUT", target, body=b"x" * length)).status == status


@pytest.mark.parametrize(("peer", "status"), [("10.1.1.1", 200), ("192.0.2.1", 403)])
async def test_networks_are_the_route_s(peer: str, status: int) -> None:
    async with in_memory(PIPELINE + ROUTES) as gateway:
        assert (await gateway.send("GET", "/internal", peer=peer)).status == status
        assert (await gateway.send("GET", "/uploads", peer=peer)).status == 200


async def test_probes_need_no_route_and_carry_an_id() -> None:
    async with in_memory(PIPELINE + ROUTES) as gateway:
        response = await gateway.send("GET", "/health")
        post = await gateway.send("POST", "/ready")
    assert response.status == 200
    assert "X-Request-Id" in response.headers
    assert (post.status, post.headers.get("Allow")) == (405, "GET, HEAD")


async def test_what_the_upstream_refuses_is_readable_by_the_page() -> None:
    upstream = Recorder(Reject(503, "no_instance"), Response(404, Headers()))
    async with in_memory(PIPELINE + ROUTES, upstream=upstream) as gateway:
        for status in (503, 404):
            response = await gateway.send(
                "GET", "/projects/7", headers={"Origin": PREFLIGHT["Origin"]}
            )
            assert response.status == status
            assert response.headers.get("Access-Control-Allow-Origin") == PREFLIGHT["Origin"]
