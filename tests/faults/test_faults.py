"""Faults over real sockets: what clients see, and how often instances are asked."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.faults.origin import FaultyOrigin
from tests.faults.proxies import gatewayd
from tests.faults.scenarios import INSTANCES, REQUESTS, SCENARIOS, Result, Scenario, play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def results(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Result]]:
    """Play all scenarios, in order: the last ones are about instances that come back."""
    folder: Path = tmp_path_factory.mktemp("faults")
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(FaultyOrigin()) for _ in range(INSTANCES)]
        with gatewayd([origin.port for origin in origins], folder) as gateway:
            yield {one.name: await play(one, origins, gateway.port) for one in SCENARIOS}


pytestmark = pytest.mark.asyncio(loop_scope="module")
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)


@each_scenario
async def test_clients_see_what_can_not_be_helped_and_nothing_else(
    scenario: Scenario, results: dict[str, Result]
) -> None:
    assert results[scenario.name].get.keys() == scenario.get
    assert results[scenario.name].post.keys() == scenario.post


@each_scenario
async def test_no_post_arrives_twice(scenario: Scenario, results: dict[str, Result]) -> None:
    assert results[scenario.name].repeated == 0


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("all well", 2 * REQUESTS),
        ("connection refused", 2 * REQUESTS),  # refusals are no calls
        ("reset mid-body", 2 * REQUESTS),  # what has begun is not repeated
        ("hang mid-body", 2 * REQUESTS),
        ("slow drip", 2 * REQUESTS),
        ("half gone", 2 * REQUESTS),
        ("all gone", 0),
    ],
)
async def test_instances_are_asked_once(name: str, calls: int, results: dict[str, Result]) -> None:
    assert results[name].calls == calls


@pytest.mark.parametrize("name", ["reset mid-head", "hang before head", "500s", "garbage"])
async def test_gets_that_failed_are_asked_once_more(name: str, results: dict[str, Result]) -> None:
    failed_posts = REQUESTS - results[name].post["200"]
    assert failed_posts > 0
    assert 2 * REQUESTS < results[name].calls <= 3 * REQUESTS
