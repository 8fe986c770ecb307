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
