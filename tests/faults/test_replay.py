"""Bodies that come in pieces, in front of an instance that reads them and then fails."""

from __future__ import annotations

import asyncio
import http.client
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.faults.origin import FaultyOrigin
from tests.faults.proxies import RETRY, gatewayd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.servers import GatewayProcess


@asynccontextmanager
async def one_of_two_resets(
    folder: Path, retry: str = RETRY
) -> AsyncIterator[tuple[GatewayProcess, list[FaultyOrigin]]]:
    async with FaultyOrigin() as bad, FaultyOrigin() as good:
        await bad.become("reset mid-head")
        with gatewayd([bad.port, good.port], folder, retry=retry) as gateway:
            yield gateway, [bad, good]


def send(port: int, method: str, pieces: list[bytes]) -> int:
    """Send the head first, then the pieces one by one; return the status."""

    def each() -> Iterator[bytes]:
        yield from pieces

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        length = str(sum(map(len, pieces)))
        connection.request(method, "/", each(), {"Content-Length": length, "X-Id": "1"})
        return connection.getresponse().status
    finally:
        connection.close()


async def send_two(port: int, method: str, pieces: list[bytes]) -> list[int]:
    """Send two requests: round robin brings each instance one of them first."""
    return sorted([await asyncio.to_thread(send, port, method, pieces) for _ in range(2)])


@pytest.mark.parametrize(
    ("method", "pieces", "statuses", "repeated"),
    [
        ("PUT", [b"a" * 5000, b"b" * 5000], [200, 200], True),
        ("PUT", [b"a" * 40_000] * 5, [200, 502], False),  # more than is kept
        ("POST", [b"a" * 5000, b"b" * 5000], [200, 502], False),
    ],
    ids=["kept", "too large", "POST"],
)
async def test_a_body_is_sent_again_only_whole_and_only_if_that_is_safe(
    tmp_path: Path, method: str, pieces: list[bytes], statuses: list[int], repeated: bool
) -> None:
    async with one_of_two_resets(tmp_path) as (gateway, origins):
        assert await send_two(gateway.port, method, pieces) == statuses
    bad, good = origins
    assert bad.bodies
    assert (len(bad.bodies) + len(good.bodies) > len(statuses)) is repeated
    assert {*bad.bodies, *good.bodies} == {b"".join(pieces)}


async def test_a_route_may_say_that_posts_can_be_repeated(tmp_path: Path) -> None:
    retry = RETRY + '\n    methods = ["POST"]\n'
    async with one_of_two_resets(tmp_path, retry) as (gateway, _):
        assert await send_two(gateway.port, "POST", [b"once", b"more"]) == [200, 200]
