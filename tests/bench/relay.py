"""What uvloop alone needs: bytes of a request passed on unread, and those of its answer.

It knows no HTTP, and is right only where both fit in one read: a measure of what no proxy on this
event loop can do without, and of what is left for one that reads what it passes on.

Usage: ``python relay.py PORT ORIGIN_PORT...``
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import cast

import uvloop

CONNECTIONS = 128
"""To each origin: the load's 64, and those with answers for clients that have just left."""


class Upstream(asyncio.Protocol):
    """A connection to an origin, idle in its pool until a client's bytes come."""

    def __init__(self, pool: list[Upstream]) -> None:
        self._pool = pool
        self.client: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a client."""
        self.transport = cast("asyncio.Transport", transport)
        self._pool.append(self)

    def data_received(self, data: bytes) -> None:
        """Pass the answer on."""
        self._pool.append(self)
        assert self.client is not None  # who has asked
        if not self.client.is_closing():  # else uvloop raises, and closes this connection too
            self.client.write(data)


class Client(asyncio.Protocol):
    """A connection of a client."""

    def __init__(self, pools: itertools.cycle[list[Upstream]]) -> None:
        self._pools = pools

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass the request on to the next origin."""
        upstream = next(self._pools).pop()
        upstream.client = self._transport
        upstream.transport.write(data)


async def relay(port: int, origins: list[int]) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    pools: list[list[Upstream]] = [[] for _ in origins]
    for origin, pool in zip(origins, pools, strict=True):
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda pool=pool: Upstream(pool), "127.0.0.1", origin)  # type: ignore[misc]
    turns = itertools.cycle(pools)
    server = await loop.create_server(lambda: Client(turns), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    listen, *origin_list = map(int, sys.argv[1:])
    uvloop.run(relay(listen, origin_list))
