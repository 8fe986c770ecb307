"""A second attempt beside one that hangs, with nothing else to help."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tests.faults.client import Client
from tests.faults.origin import FaultyOrigin
from tests.faults.proxies import gatewayd

if TYPE_CHECKING:
    from pathlib import Path


async def test_gets_are_answered_by_another_instance_and_posts_wait(tmp_path: Path) -> None:
    retry = "attempts = 1\nhedge = { after = 0.05 }"
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(FaultyOrigin()) for _ in range(3)]
        await origins[0].become("hang before head")
        with gatewayd([one.port for one in origins], tmp_path, retry=retry) as gateway:
            client = Client(gateway.port)
            gets = [(await client.send("GET")).outcome for _ in range(6)]
            hung = origins[0].calls
            posts = [(await client.send("POST")).outcome for _ in range(3)]
            client.close()
    assert hung >= 2
    assert gets == ["200"] * 6
    assert sorted(posts) == ["200", "200", "504"]
    assert origins[0].calls == hung + 1


async def test_an_instance_that_is_always_overtaken_is_left_alone(tmp_path: Path) -> None:
    retry = "attempts = 1\nhedge = { after = 0.2 }"
    breaker = "min_requests = 3\nslow_after = 0.1\nopen_for = 600"
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(FaultyOrigin()) for _ in range(3)]
        await origins[0].become("hang before head")
        ports = [one.port for one in origins]
        with gatewayd(
            ports, tmp_path, breaker=True, breaker_settings=breaker, retry=retry
        ) as gateway:
            client = Client(gateway.port)
            outcomes = [(await client.send("GET")).outcome for _ in range(30)]
            client.close()
    assert outcomes == ["200"] * 30
    assert origins[0].calls == 3
