"""What a client sees: one request on a connection of its own, or many at a steady rate."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tests.faults.origin import CONTENT

_PATIENCE = 10.0  # seconds; a proxy that takes longer has lost the request
_ID = iter(range(1, 1_000_000_000))


@dataclass(frozen=True, slots=True)
class Seen:
    """How one request ended.

    Attributes:
        outcome: The status, ``broken`` where the response was cut, ``wrong`` where its content was
            not the origin's, or ``silence``.
        seconds: How long that took.

    """

    outcome: str
    seconds: float


class Client:
    """A keep-alive connection to a proxy, opened when needed.

    Args:
        port: The proxy's port.

    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str) -> Seen:
        """Send one request; tell how it ended."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_PATIENCE):
                outcome = await self._exchange(method)
        except TimeoutError:
            outcome = "silence"
        except (OSError, asyncio.IncompleteReadError):
            outcome = "broken"
        if outcome in ("silence", "broken"):
            self.close()
        return Seen(outcome, time.perf_counter() - started)

    async def _exchange(self, method: str) -> str:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        body = "Content-Length: 4\r\n\r\nbody" if method == "POST" else "\r\n"
        head = f"{method} / HTTP/1.1\r\nHost: faults.test\r\nX-Id: {next(_ID)}\r\n"
        writer.write((head + body).encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(line for line in lines if line.startswith(b"content-length:"))
        content = await reader.readexactly(int(length.partition(b":")[2]))
        if any(line.replace(b" ", b"") == b"connection:close" for line in lines):
            self.close()
        status = lines[0].split()[1].decode()
        return "wrong" if status == "200" and content != CONTENT else status

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def load(port: int, *, rate: float, requests: int, clients: int = 64) -> list[Seen]:
    """Send GETs at a steady rate, whether or not earlier ones have been answered.

    Args:
        port: The proxy's port.
        rate: Requests per second.
        requests: How many.
        clients: Connections to share among them; when all wait, requests are late.

    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    due = iter(range(requests))
    seen: list[Seen] = []

    async def run() -> None:
        client = Client(port)
        for number in due:
            await asyncio.sleep(max(0.0, started + number / rate - loop.time()))
            seen.append(await client.send("GET"))
        client.close()

    await asyncio.gather(*(run() for _ in range(clients)))
    return seen


def percentile(seen: list[Seen], share: float) -> float:
    """Return the time in seconds that this share of the requests stays below."""
    ordered = sorted(one.seconds for one in seen)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
