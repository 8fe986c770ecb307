"""The breaker in a whole gateway, in front of a real origin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.held_origin import get
from tests.support.servers import GatewayProcess
from tests.support.sick_origin import SickOrigin

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[pipeline]
filters = ["route_match", "balancer", "breaker", "upstream"]
[filters.breaker]
consecutive_failures = 2
half_open_requests = 1
open_for = {open_for}
[services.api]
instances = [{{ url = "{url}" }}]
[[routes]]
name = "all"
service = "api"
"""


async def test_an_open_breaker_costs_no_upstream_connection(tmp_path: Path) -> None:
    async with SickOrigin(answer=b"") as origin:
        config = CONFIG.format(url=origin.url, open_for=600)
        with GatewayProcess(config, tmp_path) as gateway:
            answers = [await asyncio.to_thread(get, gateway.port) for _ in range(5)]
    assert [answer.status for answer in answers] == [502, 502, 503, 503, 503]
    assert answers[-1].headers["Content-Type"] == "application/problem+json"
    assert int(answers[-1].headers["Retry-After"]) in range(590, 601)
    assert len(origin.requests) == 2


async def test_an_instance_that_recovers_is_found_out(tmp_path: Path) -> None:
    async with SickOrigin(answer=b"") as origin:
        config = CONFIG.format(url=origin.url, open_for=0.05)
        with GatewayProcess(config, tmp_path) as gateway:
            for _ in range(2):
                await asyncio.to_thread(get, gateway.port)
            origin.respond(200)
            async with asyncio.timeout(10):
                while (await asyncio.to_thread(get, gateway.port)).status != 200:
                    pass
            gateway.wait_for_log(f"breaker of {origin.url} of api: closed, was half_open")


async def test_an_open_breaker_stays_open_over_a_reload(tmp_path: Path) -> None:
    async with SickOrigin(answer=b"") as origin:
        config = CONFIG.format(url=origin.url, open_for=600)
        with GatewayProcess(config, tmp_path) as gateway:
            for _ in range(2):
                await asyncio.to_thread(get, gateway.port)
            gateway.reload(f"{config}\n[services.other]\ninstances = [{{ url = '{origin.url}' }}]")
            gateway.wait_for_log("reloaded")
            assert (await asyncio.to_thread(get, gateway.port)).status == 503
    assert len(origin.requests) == 2
