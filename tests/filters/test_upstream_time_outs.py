from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from gatewayd import (
    ConfigError,
    Instance,
    InstanceSpec,
    IterBody,
    Response,
)
from gatewayd.testing import FakeClock, in_memory, make_exchange, make_gateway, running
from gatewayd.timers import NEVER
from gatewayd_filters.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gatewayd import Body
    from gatewayd.upstream.attempt import Attempt
    from gatewayd.upstream.pool import Pool


NOW = 1000.0


class Sent:
    """The connections to an instance: keeps what it is given to send."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    async def send(self, attempt: Attempt) -> Response:
        self.attempts.append(attempt)
        return Response(200)


async def send(
    *,
    deadline: float | None = None,
    try_timeout: float | None = None,
    body: bytes | Body = b"",
    headers: dict[str, str] | None = None,
    **settings: Any,
) -> Attempt:
    """Send one request through the filter; return what went to the instance."""
    sent = Sent()
    instance = Instance("api", InstanceSpec("http://10.0.0.1:80"), cast("Pool", sent))
    gateway = make_gateway(clock=FakeClock(NOW), routes=[{"name": "all", "service": "api"}])
    async with running(Upstream, settings, gateway=gateway) as upstream:
        values = {"route": gateway.routes.routes()[0], "instance": instance}
        exchange = make_exchange("PUT", body=body, headers=headers or {}, values=values)
        exchange.deadline = deadline
        if try_timeout is not None:
            exchange.try_timeout = try_timeout
        await upstream(exchange, _nothing_follows)
    return sent.attempts[0]


async def _nothing_follows(_: object) -> Response:
    raise AssertionError("the last filter forwarded")


async def stream() -> AsyncGenerator[bytes, None]:
    yield b"piece"


def deadlines_told(attempt: Attempt) -> list[bytes]:
    lines = attempt.head.split(b"\r\n")
    return [line.partition(b": ")[2] for line in lines if line.lower().startswith(b"x-left:")]


async def test_without_a_limit_per_try_the_head_may_take_as_long_as_the_exchange() -> None:
    attempt = await send(deadline=NOW + 9)
    assert (attempt.deadline, attempt.answer_by) == (NOW + 9, NEVER)


async def test_an_attempt_knows_when_its_exchange_began() -> None:
    assert (await send()).received_at == make_exchange().received_at


async def test_an_attempt_ends_at_its_own_limit() -> None:
    attempt = await send(deadline=NOW + 9, try_timeout=0.5)
    assert (attempt.deadline, attempt.answer_by) == (NOW + 9, NOW + 0.5)


@pytest.mark.parametrize(("limit", "first_byte"), [(0.5, 0.5), (80.0, 60.0)])
async def test_with_a_streamed_body_the_limit_counts_from_its_end(
    limit: float, first_byte: float
) -> None:
    attempt = await send(try_timeout=limit, body=IterBody(stream()))
    assert attempt.answer_by == NEVER
    assert attempt.timeouts.first_byte == first_byte


@pytest.mark.parametrize(
    ("deadline", "try_timeout", "told"),
    [
        (None, None, []),
        (NOW + 1.5, None, [b"1500"]),
        (None, 0.25, [b"250"]),
        (NOW + 1.5, 0.25, [b"250"]),
        (NOW + 0.125, 0.25, [b"125"]),
        (NOW - 1, None, [b"0"]),
    ],
)
async def test_the_instance_is_told_how_much_time_is_left(
    deadline: float | None, try_timeout: float | None, told: list[bytes]
) -> None:
    attempt = await send(deadline=deadline, try_timeout=try_timeout, deadline_header="X-Left")
    assert deadlines_told(attempt) == told


async def test_what_the_client_says_of_the_deadline_is_not_passed_on() -> None:
    attempt = await send(deadline=NOW + 2, deadline_header="X-Left", headers={"x-left": "999999"})
    assert deadlines_told(attempt) == [b"2000"]
    attempt = await send(deadline_header="X-Left", headers={"x-left": "999999"})
    assert deadlines_told(attempt) == []


async def test_nothing_is_told_unless_configured() -> None:
    attempt = await send(deadline=NOW + 2, headers={"X-Left": "999999"})
    assert deadlines_told(attempt) == [b"999999"]


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Host", "no token"])
async def test_a_field_that_frames_or_routes_the_message_cannot_be_named(name: str) -> None:
    config = f"""
        filters.upstream.deadline_header = "{name}"
        services.api.instances = [{{ url = "http://127.0.0.1:1" }}]
        routes = [{{ name = "all", service = "api" }}]
    """
    with pytest.raises(ConfigError, match="deadline_header"):
        async with in_memory(config):
            pass
