"""A gateway that logs to a file, and exchanges that have ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gatewayd import Headers, Response
from gatewayd.testing import in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd import Exchange, Forward
    from gatewayd.testing import FakeClock

CONFIG = """
pipeline.filters = ["access_log", "tracing", "route_match", "balancer", "upstream"]
services.shop.instances = [{ url = "http://127.0.0.1:9" }]
routes = [{ name = "item", path = "/items/{id}", service = "shop" }]
"""


def configured(path: Path, **settings: object) -> str:
    settings = {"path": str(path), **settings}
    lines = (f"{key} = {json.dumps(value)}" for key, value in settings.items())
    return "\n".join([CONFIG, "[filters.access_log]", *lines])


async def logged(
    folder: Path,
    target: str = "/items/7",
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    upstream: Forward | None = None,
    clock: FakeClock | None = None,
    **settings: object,
) -> list[dict[str, Any]]:
    """Return what is in the log after one exchange."""
    path = folder / "access.log"
    text = configured(path, **settings)
    async with in_memory(text, upstream=upstream, clock=clock) as gateway:
        await gateway.send(method, target, headers=headers or {}, body=body)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def ended(exchange: Exchange, status: int = 200, headers: Headers | None = None) -> Exchange:
    exchange.response = Response(status, Headers() if headers is None else headers)
    exchange.ended_at = exchange.received_at
    return exchange
