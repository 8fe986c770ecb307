"""An upstream that answers as it is told to, and requests that ``retry`` sends to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayd import Body, ConnectFailure, Response, UpstreamReset
from gatewayd.testing import Recorder, make_exchange, make_gateway, make_service, running
from gatewayd_filters.retry import Retry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from gatewayd import Exchange, Instance
    from gatewayd.testing.exchanges import Answer

QUICK: dict[str, Any] = {"backoff": {"base": 1e-6, "max": 1e-6}}
ORIGINS = [f"http://10.0.0.{number}:80" for number in (1, 2, 3)]
SERVICE_OF_THREE = make_service("api", *ORIGINS)
INSTANCES = SERVICE_OF_THREE.available
GONE = ConnectFailure("refused", sent=False)
RESET = UpstreamReset("reset", sent=True)


class Upstream(Recorder):
    """Picks as ``balancer`` does, an instance not yet tried, then answers as it was told to."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(*answers)
        self.picks: list[Instance] = []

    async def __call__(self, exchange: Exchange) -> Response:
        tried = exchange.tried
        fresh = [one for one in INSTANCES if one not in tried]
        exchange.instance = (fresh or INSTANCES)[0]
        self.picks.append(exchange.instance)
        return await super().__call__(exchange)


async def attempt(
    upstream: Callable[..., Any],
    method: str = "GET",
    body: bytes | Body = b"",
    *,
    deadline: float | None = None,
    **settings: Any,
) -> Response:
    """Send one request through the filter."""
    gateway = make_gateway(services={"api": SERVICE_OF_THREE})
    async with running(Retry, {**QUICK, **settings}, gateway=gateway) as retry:
        exchange = make_exchange(method, body=body, values={"service": SERVICE_OF_THREE})
        exchange.deadline = deadline
        return await retry(exchange, upstream)


async def stream(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


class Watched(Body):
    """A response body that tells whether it was given up."""

    closed = 0

    async def read(self) -> bytes:
        return b""

    async def aclose(self) -> None:
        self.closed += 1
