"""The relay that the bare proxy is compared with: it must lose no connection to an origin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import uvloop

from tests.bench import relay

if TYPE_CHECKING:
    from collections.abc import Callable


class GoneClient(asyncio.Protocol):
    """A client that has left; it tells when its connection has ended."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._ended.set()


async def connect_to_nobody(made: Callable[[], asyncio.Protocol]) -> None:
    """Connect a protocol to a server that only accepts."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await loop.create_connection(made, "127.0.0.1", port)
    server.close()


def test_an_answer_for_a_client_that_has_left_costs_no_connection() -> None:
    async def answer_late() -> int:
        ended, pool = asyncio.Event(), list[relay.Upstream]()
        client, upstream = GoneClient(ended), relay.Upstream(pool)
        await connect_to_nobody(lambda: client)
        client.transport.abort()
        await asyncio.wait_for(ended.wait(), 5)
        upstream.client = client.transport
        upstream.data_received(b"HTTP/1.1 200 OK\r\n\r\n")  # uvloop closes it if this raises
        return len(pool)

    assert uvloop.run(answer_late()) == 1
