"""The admin listener by itself, without workers."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

from aiohttp.test_utils import make_mocked_request

from gatewayd.admin.listener import AdminServer
from gatewayd.admin.settings import AdminConfig
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gatewayd.audit import AuditEvent
    from gatewayd.process.node import Node

TRANSPORT = Mock(get_extra_info=lambda _, default=None: default)


class SlowNode:
    """A node whose audit trail takes each event when it is let."""

    def __init__(self, admin: AdminConfig) -> None:
        config: Any = SimpleNamespace(admin=admin)
        self.loaded = SimpleNamespace(config=config)
        self.metrics = Metrics()
        self.may_record = {"first": asyncio.Event(), "second": asyncio.Event()}
        self.recorded: list[AuditEvent] = []

    async def audit(self, event: AuditEvent) -> None:
        await self.may_record[event.reason].wait()
        self.recorded.append(event)


async def test_the_end_waits_for_every_row_that_is_not_written_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.admin.listener._DENIALS_EVERY", 0.0)
    config = AdminConfig(listen=f"unix:{tmp_path}/admin.sock")
    node = SlowNode(config)
    server = AdminServer(cast("Node", node), config)
    for reason in ("first", "second"):
        server._deny(make_mocked_request("GET", "/v1/status", transport=TRANSPORT), reason)
    closing = asyncio.create_task(server.close())
    node.may_record["second"].set()
    await asyncio.wait([closing], timeout=0.1)
    assert not closing.done()
    node.may_record["first"].set()
    await closing
    assert [event.reason for event in node.recorded] == ["second", "first"]


async def test_a_row_counts_the_denials_since_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AdminConfig(listen=f"unix:{tmp_path}/admin.sock")
    node = SlowNode(config)
    node.may_record["first"].set()
    server = AdminServer(cast("Node", node), config)
    request = make_mocked_request("GET", "/v1/status", transport=TRANSPORT)
    for seconds in (0.0, math.inf, math.inf, 0.0, 0.0):
        monkeypatch.setattr("gatewayd.admin.listener._DENIALS_EVERY", seconds)
        server._deny(request, "first")
    await server.close()
    assert [event.detail["count"] for event in node.recorded] == [1, 3, 1]
