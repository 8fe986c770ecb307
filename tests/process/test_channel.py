from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from gatewayd.config.load import load
from gatewayd.process.channel import Channel, ChannelClosed, pack, unpack
from gatewayd.registry import Plugins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONFIG = """
[filters.headers.request.set]
X-Secret = "${SECRET}"

[[routes]]
name = "all"
service = "origin"

[services.origin]
instances = [{ url = "http://127.0.0.1:9101" }]
"""


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    one, other = await Channel.over(ours), await Channel.over(theirs)
    yield one, other
    one.close()
    other.close()


async def test_messages_arrive_as_they_were_sent(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    messages = [b"first", b"", b"x" * 3_000_000]
    received: list[bytes] = []
    async with asyncio.TaskGroup() as tasks:
        for message in messages:
            tasks.create_task(one.send(message))
        received += [await other.receive() for _ in messages]
    assert received == messages


async def test_the_end_of_the_other_process_is_seen(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    other.close()
    with pytest.raises(ChannelClosed):
        await one.receive()


async def test_a_message_that_breaks_off_is_none() -> None:
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours)
    theirs.sendall(struct.pack("!I", 5) + b"abc")
    theirs.close()
    with pytest.raises(ChannelClosed):
        await channel.receive()
    channel.close()


async def test_an_absurd_length_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours)
    theirs.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(ChannelClosed):
        await channel.receive()
    channel.close()
    theirs.close()


def test_a_configuration_keeps_places_and_secrets(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    loaded = load(file, environ={"SECRET": "hunter2"})
    restored = unpack(pack(loaded), Plugins())
    assert restored.config == loaded.config
    assert restored.digest == loaded.digest
    assert restored.where(("routes", 0, "service")) == (str(file), 7)
    assert "hunter2" in str(restored.config)
    assert "hunter2" not in str(restored.redacted())
