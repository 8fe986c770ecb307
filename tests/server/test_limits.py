"""The limits of ``[server]`` over real sockets, and the end of a server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.in_process import InProcessGateway, serving
from tests.support.raw import Wire, raw_origin

if TYPE_CHECKING:
    from pathlib import Path

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


def config(server: str = "", url: str = "http://127.0.0.1:1") -> str:
    return f"""
[server]
{server}
[filters.auth]
required = false
[services.origin]
instances = [{{ url = "{url}" }}]
[[routes]]
name = "all"
service = "origin"
"""


def head(count: int = 0, size: int = 0) -> bytes:
    """Return a head with so many more fields, one of them so long."""
    lines = [b"X-%d: %b\r\n" % (number, b"a" * size) for number in range(count)]
    return b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"".join(lines) + b"\r\n"


@pytest.mark.parametrize(
    ("server", "request_", "status"),
    [
        ("max_headers = 5", head(4), 200),
        ("max_headers = 5", head(5), 431),
        ("max_header_bytes = 1024", head(1, 900), 200),
        ("max_header_bytes = 1024", head(1, 1000), 431),
        ("max_target_bytes = 256", b"GET /health?" + b"a" * 248 + HEALTH[11:], 200),
        ("max_target_bytes = 256", b"GET /health?" + b"a" * 249 + HEALTH[11:], 414),
    ],
)
async def test_limits_of_heads_are_exact(
    tmp_path: Path, server: str, request_: bytes, status: int
) -> None:
    async with serving(config(server), tmp_path) as gateway:
        wire = await Wire.connect(gateway.port)
        answer = await wire.ask(request_)
        assert answer.status == status
        assert (answer.header("Connection") == "close") is (status != 200)
        wire.close()


@pytest.mark.parametrize(
    ("server", "request_", "status"),
    [
        ("max_headers = 5", head(100)[:-2], 431),
        ("max_header_bytes = 1024", head(1, 4000)[:-2], 431),
        ("max_target_bytes = 256", b"GET /" + b"a" * 400, 414),
        ("", b"\x16\x03\x01\x02\x00", 400),
        ("", b"GET / HTTP/1.1\nHost: a\n\n", 400),
        ("", b"GET /\r\n", 400),
    ],
)
async def test_a_head_that_cannot_become_valid_is_refused_before_its_end(
    tmp_path: Path, server: str, request_: bytes, status: int
) -> None:
    async with serving(config(server), tmp_path) as gateway:
        wire = await Wire.connect(gateway.port)
        assert (await wire.ask(request_)).status == status
        assert await wire.read_to_end() == b""
        wire.close()


async def test_a_head_that_does_not_end_in_time_is_answered(tmp_path: Path) -> None:
    async with serving(config("header_timeout = 0.2"), tmp_path) as gateway:
        wire = await Wire.connect(gateway.port)
        assert (await wire.ask(b"GET / HT")).status == 408
        wire.close()


async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    async with serving(config("header_timeout = 0.2"), tmp_path) as gateway:
        wire = await Wire.connect(gateway.port)
        assert await wire.read_to_end() == b""
        wire.close()


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    async with serving(config("keepalive_timeout = 0.2"), tmp_path) as gateway:
        wire = await Wire.connect(gateway.port)
        assert (await wire.ask(HEALTH)).status == 200
        assert await wire.read_to_end() == b""
        wire.close()


async def test_a_body_that_stops_is_answered(tmp_path: Path) -> None:
    async with (
        raw_origin() as origin,
        serving(config("body_timeout = 0.2", origin.url), tmp_path) as gateway,
    ):
        wire = await Wire.connect(gateway.port)
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfive.")
        assert (await wire.read_answer()).status == 408
        wire.close()


async def test_exchanges_above_the_limit_are_refused(tmp_path: Path) -> None:
    async with (
        raw_origin() as origin,
        serving(config("max_in_flight = 1", origin.url), tmp_path) as gateway,
    ):
        first, second = await Wire.connect(gateway.port), await Wire.connect(gateway.port)
        first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        instance = await origin.accept()
        await instance.read_head()
        answer = await second.ask(HEALTH)
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
        instance.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (await first.read_answer()).status == 200
        assert (await second.ask(HEALTH)).status == 200
        first.close()
        second.close()


async def test_connections_above_the_limit_are_closed_and_counted(tmp_path: Path) -> None:
    async with serving(config("max_connections = 1"), tmp_path) as gateway:
        first = await Wire.connect(gateway.port)
        assert (await first.ask(HEALTH)).status == 200
        second = await Wire.connect(gateway.port)
        assert await second.read_to_end() == b""
        assert gateway.server.refused_connections == 1
        assert (await first.ask(HEALTH)).status == 200
        first.close()
        second.close()


async def test_refused_requests_are_counted(tmp_path: Path) -> None:
    async with serving(config(), tmp_path) as gateway:
        wire = await Wire.connect(gateway.port)
        assert (await wire.ask(b"GET / HTTP/3.0\r\n\r\n")).status == 505
        assert gateway.server.refused_requests == 1
        wire.close()


async def draining(gateway: InProcessGateway, timeout: float) -> asyncio.Task[None]:  # noqa: ASYNC109  # passed on
    """Begin a drain; return once the listener is closed."""
    task = asyncio.create_task(gateway.server.drain(timeout))
    await asyncio.sleep(0)
    return task


async def test_a_drain_closes_idle_connections_and_lets_exchanges_end(tmp_path: Path) -> None:
    async with raw_origin() as origin, serving(config(url=origin.url), tmp_path) as gateway:
        busy, idle = await Wire.connect(gateway.port), await Wire.connect(gateway.port)
        assert (await idle.ask(HEALTH)).status == 200
        busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        instance = await origin.accept()
        await instance.read_head()
        drain = await draining(gateway, 10)
        assert await idle.read_to_end() == b""
        with pytest.raises(ConnectionRefusedError):
            await Wire.connect(gateway.port)
        instance.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        answer = await busy.read_answer()
        assert (answer.status, answer.body, answer.header("Connection")) == (200, b"ok", "close")
        await drain
        assert gateway.server.open_connections == 0
        busy.close()
        idle.close()


async def test_a_drain_breaks_off_what_does_not_end(tmp_path: Path) -> None:
    async with raw_origin() as origin, serving(config(url=origin.url), tmp_path) as gateway:
        wire = await Wire.connect(gateway.port)
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        instance = await origin.accept()
        await instance.read_head()
        await (await draining(gateway, 0.05))
        with pytest.raises(ConnectionResetError):
            await wire.read_to_end()
        assert await instance.read_to_end() == b""
        wire.close()
