"""Reloads on a signal: whatever becomes of one, the next signal is heard."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gatewayd.config.load import load
from gatewayd.config.stored import SourcesConfig
from gatewayd.errors import GatewayError
from gatewayd.process.notify import Notifier
from gatewayd.process.reload import Reloader
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.audit import AuditEvent
    from gatewayd.config.load import LoadedConfig


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedConfig:
    file = tmp_path / "gateway.toml"
    file.write_text("")
    return load(file, environ={})


class Node:
    """What a reloader serves; each part fails where told to."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.failure: Exception | None = None
        self.lost = False
        self.turns: asyncio.Queue[None] = asyncio.Queue()
        self.metrics = Metrics()
        notifier = Notifier({})
        self.reloader = Reloader(lambda: loaded, self.take, self.audit, self.metrics, notifier)

    async def take(self, _: LoadedConfig) -> None:
        if self.failure is not None:
            raise self.failure

    async def audit(self, _: AuditEvent) -> None:
        self.turns.put_nowait(None)
        if self.lost:
            raise PermissionError(13, "Permission denied")

    def count(self, result: str) -> float:
        return self.metrics.counter("gatewayd_reloads", "", ("result",)).labels(result).value


@pytest.mark.parametrize("failure", [None, GatewayError("no"), RuntimeError("unforeseen")])
@pytest.mark.parametrize("lost", [False, True], ids=["recorded", "not recorded"])
async def test_the_next_signal_is_heard(
    loaded: LoadedConfig, failure: Exception | None, *, lost: bool
) -> None:
    node = Node(loaded)
    node.failure, node.lost = failure, lost
    hangup = asyncio.Event()
    following = asyncio.create_task(node.reloader.reload_on(hangup))
    async with asyncio.timeout(10):
        for _ in range(2):
            hangup.set()
            await node.turns.get()
    following.cancel()
    await asyncio.wait([following])
    assert node.count("success" if failure is None else "failure") == 2


@pytest.mark.parametrize("failure", [None, GatewayError("no")])
async def test_what_the_store_gives_is_kept_where_all_have_taken_it_over(
    loaded: LoadedConfig, tmp_path: Path, failure: Exception | None
) -> None:
    snapshot = tmp_path / "snapshot.json"
    settings = SourcesConfig(snapshot=str(snapshot))
    config = loaded.config.model_copy(update={"config": settings})
    node = Node(replace(loaded, config=config, stored=b"{}"))
    node.failure = failure
    with nullcontext() if failure is None else pytest.raises(GatewayError):
        await node.reloader.reload()
    assert snapshot.exists() == (failure is None)


async def test_what_cannot_be_recorded_has_been_done_all_the_same(
    loaded: LoadedConfig, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(loaded)
    node.lost = True
    assert await node.reloader.reload() is loaded
    assert "a reload is not in the audit trail" in caplog.text
