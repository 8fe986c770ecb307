"""Peers that leave at the wrong moment, or stay and take nothing, keep nothing of the gateway."""

from __future__ import annotations

import asyncio
import http.client
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest

from gatewayd import Exchange, Filter, FilterConfig, Forward, Reject, Response
from tests.support.in_process import InProcessGateway, serving
from tests.support.plugins import plugins_with
from tests.support.proc import open_files
from tests.support.raw import RawOrigin, Wire, raw_origin, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp.web_protocol import RequestHandler

CONFIG = """
[server]
send_timeout = 0.3
keepalive_timeout = 0.3

[pipeline]
filters = ["request_id", "route_match", "body_limit", "balancer", "upstream"]

[filters.body_limit]
max_bytes = "1MiB"

[filters.upstream]
tunnel_idle_timeout = 0.3

[services.origin]
instances = [{{ url = "{url}" }}]
max_connections = 1
pool_timeout = 0.1
idle_timeout = 0.3

[[routes]]
name = "origin"
path = "/origin"
service = "origin"
"""
GET = b"GET /origin HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /origin HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
# A body of more than gatewayd.body.HIGH_WATER bytes stops the reading of its connection.
HIGH_WATER = 65536


class Ends:
    """The gateway with both of its ends in the hands of the test."""

    def __init__(self, gateway: InProcessGateway, origin: RawOrigin) -> None:
        self.gateway = gateway
        self.origin = origin
        self._tasks = asyncio.all_tasks()
        self._files = len(open_files(os.getpid()))

    async def connect(self) -> Wire:
        return await Wire.connect(self.gateway.port)

    async def connect_deaf(self) -> Wire:
        """Connect a client that will read nothing, and for which the kernel takes little."""
        return await Wire.connect(self.gateway.port, receive_buffer=1)

    async def until_nothing_is_left(self, files: int = 0) -> None:
        """Wait until the gateway has let go of all tasks and files; the test keeps some files."""
        await until(lambda: self.gateway.server.open_connections == 0)
        await until(lambda: len(open_files(os.getpid())) <= self._files + files)
        tasks = {*self._tasks, asyncio.current_task()}
        await until(lambda: asyncio.all_tasks() <= tasks)
        assert len(self.gateway.sweeper) == 0


@pytest.fixture
async def ends(tmp_path: Path, calm_loop: None) -> AsyncIterator[Ends]:
    async with raw_origin() as origin, serving(CONFIG.format(url=origin.url), tmp_path) as gateway:
        yield Ends(gateway, origin)


@asynccontextmanager
async def closing(*wires: Wire) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for wire in wires:
            wire.close()


async def fill(at_origin: Wire, connection: RequestHandler) -> int:
    """Answer with as much as the kernel takes for a client that does not read, and a bit more.

    So the response is complete, and its end waits in the gateway. Returns its size.
    """
    at_origin.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    size = 0
    assert connection.transport is not None
    while not connection.transport.get_write_buffer_size():
        await at_origin.send_all(b"1000\r\n%b\r\n" % bytes(0x1000))
        await asyncio.sleep(0)
        size += 0x1000
    at_origin.send(b"0\r\n\r\n")
    return size


@pytest.mark.parametrize("sent", [b"", b"x"], ids=["nothing of it", "some of it"])
async def test_an_answer_before_the_requests_body_ends_what_copies_the_body(
    ends: Ends, sent: bytes
) -> None:
    client = await ends.connect()
    client.send(POST % 10 + sent)
    at_origin = await ends.origin.accept()
    at_origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await client.read_answer()).body == b"ok"
    client.close()
    at_origin.close()
    await ends.until_nothing_is_left()


async def test_a_request_follows_one_whose_body_nobody_has_read(ends: Ends) -> None:
    first, client = await ends.connect(), await ends.connect()
    async with closing(first, client):
        first.send(GET + b"\r\n")  # takes the only connection to the origin
        generation = ends.gateway.generations.current
        await until(lambda: generation.in_flight == 1)
        client.send(POST % (HIGH_WATER + 1))
        await until(lambda: generation.in_flight == 2)
        client.send(bytes(HIGH_WATER + 1))
        assert (await client.read_answer()).status == 503
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 404


async def test_a_tunnel_whose_client_takes_nothing_ends(ends: Ends) -> None:
    client = await ends.connect_deaf()
    async with closing(client):
        client.send(GET + UPGRADE)
        at_origin = await ends.origin.accept()
        at_origin.send(b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE + bytes(50_000_000))
        await at_origin.read_head()
        with pytest.raises(ConnectionError):
            await at_origin.read_some()
        await ends.until_nothing_is_left(files=1)


@pytest.mark.parametrize(
    ("request_", "half_closed"),
    [
        pytest.param(GET + b"\r\n", False, id="kept alive"),
        pytest.param(GET + b"\r\n", True, id="half-closed"),
        pytest.param(GET + b"Connection: close\r\n\r\n", False, id="not kept alive"),
        pytest.param(POST % 10, False, id="body not sent"),
    ],
)
async def test_a_client_that_does_not_take_the_end_of_a_response_is_dropped(
    ends: Ends, request_: bytes, half_closed: bool
) -> None:
    client = await ends.connect_deaf()
    async with closing(client):
        client.send(request_)
        if half_closed:
            client.end()
        at_origin = await ends.origin.accept()
        (connection,) = ends.gateway.server.registry.connections
        await fill(at_origin, connection)
        await ends.until_nothing_is_left(files=2)


async def test_a_client_that_is_only_slow_gets_the_end_of_a_response(tmp_path: Path) -> None:
    """It has not sent its whole request, so that its connection lingers after the response."""
    config = CONFIG.replace("send_timeout = 0.3", "send_timeout = 60")
    async with raw_origin() as origin, serving(config.format(url=origin.url), tmp_path) as gateway:
        client = await Wire.connect(gateway.port, receive_buffer=1)
        async with closing(client):
            client.send(POST % 10)
            at_origin = await origin.accept()
            (connection,) = gateway.server.registry.connections
            size = await fill(at_origin, connection)
            await until(lambda: gateway.generations.current.in_flight == 0)
            await until(lambda: connection.transport is None or connection.transport.is_closing())
            assert len((await client.read_answer()).body) == size


async def test_a_client_that_sends_all_before_it_reads_gets_its_413(ends: Ends) -> None:
    def upload() -> int:
        client = http.client.HTTPConnection("127.0.0.1", ends.gateway.port, timeout=20)
        try:
            client.request("POST", "/origin", bytes(50_000_000))
            return client.getresponse().status
        finally:
            client.close()

    assert await asyncio.to_thread(upload) == 413


class Late(Filter[FilterConfig]):
    """Has got the response, and then refuses, or waits for something that does not happen."""

    name = "late"
    refuses = False
    has_it: ClassVar[asyncio.Event]

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        response = await forward(exchange)
        self.has_it.set()
        if self.refuses:
            raise Reject(502, "not_what_was_expected")
        return await asyncio.get_running_loop().create_future() or response


@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "the client left"])
@pytest.mark.parametrize(
    ("request_end", "answer"),
    [
        (b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + bytes(HIGH_WATER + 1)),
        (b"\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
        (UPGRADE, b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE),
    ],
    ids=["paused", "begun", "tunnel"],
)
async def test_a_response_that_no_filter_returns_keeps_no_connection(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refuses: bool,
    request_end: bytes,
    answer: bytes,
) -> None:
    monkeypatch.setattr(Late, "refuses", refuses)
    monkeypatch.setattr(Late, "has_it", asyncio.Event(), raising=False)
    async with raw_origin() as origin:
        config = CONFIG.format(url=origin.url).replace('"body_limit"', '"late", "body_limit"')
        config = config.replace("tunnel_idle_timeout = 0.3", "")
        async with serving(config, tmp_path, plugins_with(Late)) as gateway:
            (instance,) = gateway.generations.current.services["origin"].instances.values()
            pool = instance.pool
            client = await Wire.connect(gateway.port)
            client.send(GET + request_end)
            at_origin = await origin.accept()
            await at_origin.read_head()
            at_origin.send(answer)
            if refuses:
                assert (await client.read_answer()).status == 502
            else:
                await until(Late.has_it.is_set)
                client.reset()
            await until(lambda: pool.in_use == 0)
            client.close()
