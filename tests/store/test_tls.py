"""TLS towards MySQL: who stands in between must not be able to take it away."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from gatewayd.store.errors import StoreUnavailable
from gatewayd.store.nodes import make_sqlite_file, ssl_context_for
from gatewayd.store.settings import StoreConfig, StoreTlsConfig
from gatewayd.store.setup import execute_sql_file, initialize

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PLUGIN_AUTH, SECURE_CONNECTION, PROTOCOL_41, SSL = 1 << 19, 1 << 15, 1 << 9, 1 << 11


def greeting(capabilities: int) -> bytes:
    """Return the first packet of a server (protocol 10) with these capabilities."""
    body = b"\x0a8.0.0\x00" + struct.pack("<I", 1) + b"12345678\x00"
    body += struct.pack("<H", capabilities & 0xFFFF) + b"\x2d" + struct.pack("<H", 2)
    body += struct.pack("<H", capabilities >> 16) + b"\x15" + bytes(10) + b"123456789012\x00"
    body += b"mysql_native_password\x00"
    return struct.pack("<I", len(body))[:3] + b"\x00" + body


@asynccontextmanager
async def server_offering(capabilities: int) -> AsyncIterator[tuple[int, asyncio.Queue[bytes]]]:
    """Run a server that greets and then listens; gives its port, and what clients have sent."""
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting(capabilities))
        received.put_nowait(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


async def sent(received: asyncio.Queue[bytes]) -> bytes:
    async with asyncio.timeout(10):
        return await received.get()


def config_for(port: int, tls: StoreTlsConfig | None) -> StoreConfig:
    url = f"mysql://user:password@127.0.0.1:{port}/gateway_db"
    return StoreConfig(url=url, tls=tls, retries=0, connect_timeout=5)


async def test_a_server_without_tls_is_told_nothing() -> None:
    async with server_offering(PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH) as (port, received):
        with pytest.raises(StoreUnavailable, match="no TLS"):
            await initialize(config_for(port, StoreTlsConfig()))
        assert await sent(received) == b""


async def test_a_script_is_not_sent_without_tls_either(tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text("SELECT 1;")
    async with server_offering(PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH) as (port, received):
        with pytest.raises(StoreUnavailable, match="no TLS"):
            await execute_sql_file(config_for(port, StoreTlsConfig()), script)
        assert await sent(received) == b""


async def test_without_tls_the_same_server_is_logged_in_to() -> None:
    async with server_offering(PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH) as (port, received):
        with pytest.raises(StoreUnavailable):
            await initialize(config_for(port, None))
        assert b"user\x00" in await sent(received)


async def test_with_tls_the_name_of_the_user_is_not_sent_in_the_clear() -> None:
    async with server_offering(PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH | SSL) as (
        port,
        received,
    ):
        with pytest.raises(StoreUnavailable):
            await initialize(config_for(port, StoreTlsConfig()))
        first = await sent(received)
    assert first
    assert b"user" not in first


@pytest.mark.parametrize(
    ("host", "tls", "encrypted"),
    [
        ("127.0.0.1", None, False),
        ("localhost", None, False),
        ("db.example.org", None, True),
        ("192.0.2.7", None, True),
        ("db.example.org", StoreTlsConfig(enabled=False), False),
        ("db.example.org", StoreTlsConfig(), True),
        ("127.0.0.1", StoreTlsConfig(), True),
    ],
)
def test_who_is_spoken_to_in_the_clear(
    host: str, tls: StoreTlsConfig | None, encrypted: bool
) -> None:
    url = f"mysql://user:password@{host}/gateway_db"
    context = ssl_context_for(make_url(url), StoreConfig(url=url, tls=tls))
    assert (context is not None) is encrypted
    assert context is None or context.check_hostname


def test_an_existing_file_of_sqlite_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gatewayd.db"
    make_sqlite_file(file)
    closed: list[int] = []
    monkeypatch.setattr("gatewayd.store.nodes.os.close", closed.append)
    make_sqlite_file(file)
    assert (closed, file.stat().st_mode & 0o777) == ([], 0o600)
