"""Connections of the admin listener: what frees a place, and what gets none."""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gatewayd.admin.connections import BoundedSite, refused_connections
from gatewayd.telemetry.metrics import Metrics
from tests.admin.conftest import CONFIG, running_node
from tests.support.certificates import Authority
from tests.support.process import wait_until
from tests.support.raw import SECONDS, Wire, bounded, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SHORT = 0.5
"""Seconds for a bound that a test waits for, and within which a request must get through."""

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET_AND_CLOSE = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HALF = b"GET /health HTTP/1.1\r\nHost: loc"
LARGE = 16 << 20
"""Bytes of an answer that no kernel buffers."""

COUNTED = re.compile(r"^gatewayd_admin_refused_connections_total [1-9]", re.MULTILINE)


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    yield from bounded()


class Site:
    """A site on a free port, whose places a test may set."""

    def __init__(self, tls: Any, bounds: dict[str, float]) -> None:
        async def health(_: web.Request) -> web.Response:
            return web.Response(text="ok")

        async def large(_: web.Request) -> web.Response:
            return web.Response(body=bytes(LARGE))

        app = web.Application()
        app.router.add_get("/health", health)
        app.router.add_get("/large", large)
        self.places = 1
        self.counter = refused_connections(Metrics())
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._site = BoundedSite(
            app, self._socket, tls, lambda: self.places, self.counter, **bounds
        )

    async def start(self) -> None:
        await self._site.start()

    async def close(self) -> None:
        await self._site.close()
        self._socket.close()

    async def refuses(self) -> bool:
        """Whether the next connection is closed before it says anything."""
        wire = await Wire.connect(self.port)
        try:
            return await wire.read_to_end() == b""
        finally:
            wire.close()

    async def has_place(self, **tls: Any) -> bool:
        """Whether the next connection gets an answer."""
        try:
            wire = await Wire.connect(self.port, **tls)
        except OSError:  # with TLS the refusal is a handshake that fails
            return False
        try:
            wire.send(GET_AND_CLOSE)
            return b"200 OK" in await wire.read_to_end()
        except ConnectionError:
            return False
        finally:
            wire.close()

    async def wait_for_place(self, **tls: Any) -> None:
        """Return when a connection gets an answer."""
        async with asyncio.timeout(SECONDS):
            while not await self.has_place(**tls):
                pass


@asynccontextmanager
async def serving(tls: Any = None, **bounds: float) -> AsyncIterator[Site]:
    # Longer than any test waits, so that no end of an idle connection is taken for a refusal.
    site = Site(tls, {"idle_seconds": 60.0, **bounds})
    await site.start()
    try:
        yield site
    finally:
        await site.close()


async def is_closed(wire: Wire) -> bool:
    """Whether the connection ends, and without an answer."""
    try:
        return await wire.read_to_end() == b""
    except ConnectionError:  # the other end closed while bytes were on their way to it
        return True


async def test_a_connection_above_the_bound_is_closed() -> None:
    async with serving() as site:
        wire = await Wire.connect(site.port)
        assert (await wire.ask(GET)).status == 200
        assert await site.refuses()
        wire.close()


async def test_a_refused_connection_is_counted() -> None:
    async with serving() as site:
        wire = await Wire.connect(site.port)
        await site.refuses()
        assert site.counter.value == 1
        wire.close()


async def test_the_connections_that_have_a_place_are_served_on() -> None:
    async with serving() as site:
        wire = await Wire.connect(site.port)
        await site.refuses()
        assert (await wire.ask(GET)).status == 200
        wire.close()


async def test_the_end_of_a_connection_frees_its_place() -> None:
    async with serving() as site:
        wire = await Wire.connect(site.port)
        await wire.ask(GET)
        wire.close()
        await site.wait_for_place()


async def test_a_reset_frees_the_place() -> None:
    async with serving() as site:
        wire = await Wire.connect(site.port)
        await wire.ask(GET)
        wire.reset()
        await site.wait_for_place()


async def test_a_raised_bound_holds_for_the_next_connection() -> None:
    async with serving() as site:
        wire = await Wire.connect(site.port)
        await site.refuses()
        site.places = 2
        assert await site.has_place()
        wire.close()


@pytest.mark.parametrize("sent", [b"", HALF], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_come_ends_the_connection(sent: bytes) -> None:
    async with serving(idle_seconds=SHORT) as site:
        wire = await Wire.connect(site.port)
        wire.send(sent)
        assert await is_closed(wire)
        wire.close()


async def test_bytes_of_a_head_do_not_put_its_end_off() -> None:
    async with serving(idle_seconds=SHORT) as site:
        wire = await Wire.connect(site.port)
        wire.send(HALF)
        end = asyncio.create_task(is_closed(wire))

        def drips_to_the_end() -> bool:
            with suppress(RuntimeError):  # uvloop's, where a reset came before the reader saw it
                wire.send(b"a")
            return end.done()

        await until(drips_to_the_end)
        assert await end
        wire.close()


async def test_half_a_head_after_an_answer_ends_the_connection() -> None:
    async with serving(idle_seconds=SHORT) as site:
        wire = await Wire.connect(site.port)
        await wire.ask(GET)
        wire.send(HALF)
        assert await is_closed(wire)
        wire.close()


async def test_a_kept_connection_that_is_not_used_is_closed() -> None:
    async with serving(idle_seconds=SHORT) as site:
        wire = await Wire.connect(site.port)
        await wire.ask(GET)
        assert await wire.read_to_end() == b""
        wire.close()


@pytest.mark.parametrize(
    ("encrypted", "requests"),
    [(False, 1), (True, 1), (True, 2)],  # a TLS transport takes the first answer for sent
    ids=["without TLS", "with TLS", "with TLS, two answers"],
)
async def test_an_answer_that_is_not_taken_frees_the_place(
    tmp_path: Path, encrypted: bool, requests: int
) -> None:
    authority = Authority(tmp_path)
    server = authority.server_context("localhost") if encrypted else None
    client: dict[str, Any] = {}
    if encrypted:
        client = {"ssl": authority.client_context(), "server_hostname": "localhost"}
    async with serving(server, idle_seconds=SHORT, send_seconds=SHORT) as site:
        wire = await Wire.connect(site.port, receive_buffer=4096, **client)
        wire.send(GET.replace(b"/health", b"/large") * requests)
        await site.wait_for_place(**client)
        wire.cut()


async def test_a_handshake_takes_a_place(tmp_path: Path) -> None:
    async with serving(Authority(tmp_path).server_context("localhost")) as site:
        wire = await Wire.connect(site.port)
        assert await site.refuses()
        wire.close()


async def test_a_handshake_that_does_not_come_frees_its_place(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(authority.server_context("localhost"), idle_seconds=SHORT) as site:
        silent = await Wire.connect(site.port)
        await site.wait_for_place(ssl=authority.client_context(), server_hostname="localhost")
        silent.close()


async def test_a_tls_farewell_that_is_not_answered_frees_the_place(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    client = {"ssl": authority.client_context(), "server_hostname": "localhost"}
    async with serving(authority.server_context("localhost"), send_seconds=SHORT) as site:
        wire = await Wire.connect(site.port, **client)
        wire.stop_reading()
        wire.send(GET_AND_CLOSE)
        await site.wait_for_place(**client)
        wire.cut()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nsecret value\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nsecret: " + bytes(9000) + b"\r\n\r\n",
        b"GET /secret HTTP/x\r\n\r\n",
    ],
    ids=["field", "length", "version"],
)
async def test_a_head_that_cannot_be_read_leaves_no_stack_in_the_log(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with serving() as site:
        wire = await Wire.connect(site.port)
        wire.send(sent)
        assert b"400 Bad Request" in await wire.read_to_end()
        wire.close()
    assert len(caplog.text.splitlines()) <= 1
    assert "secret" not in caplog.text


async def test_closing_ends_connections_that_idle() -> None:
    async with serving() as site:
        wire = await Wire.connect(site.port)
        await wire.ask(GET)
        await site.close()
        assert await wire.read_to_end() == b""
        wire.close()


async def test_closing_waits_for_nobody_who_does_not_read() -> None:
    async with serving() as site:
        wire = await Wire.connect(site.port, receive_buffer=4096)
        wire.send(GET.replace(b"/health", b"/large"))
        await wire.read_head()
        await site.close()
        wire.cut()


def test_a_node_counts_what_its_admin_listener_refuses(tmp_path: Path) -> None:
    config = CONFIG.replace("[admin]", "[admin]\nmax_connections = 1", 1)
    with running_node(tmp_path, 1, config) as node:
        address = ("127.0.0.1", node.admin)
        with (
            socket.create_connection(address, timeout=10),
            socket.create_connection(address, timeout=10) as refused,
        ):
            assert refused.recv(1) == b""

        def counts() -> bool:
            try:
                page = node.ask("GET", "/metrics").text
            except (OSError, http.client.HTTPException):  # the first one still has its place
                return False
            return COUNTED.search(page) is not None

        wait_until(counts, 10, "the page of metrics")
