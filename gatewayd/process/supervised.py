"""A worker that belongs to a supervisor: its configurations come over a channel."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from gatewayd.errors import GatewayError
from gatewayd.process.channel import Channel, ChannelClosed, unpack
from gatewayd.process.worker import Worker
from gatewayd.registry import Plugins

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from gatewayd.config.load import LoadedConfig
    from gatewayd.process.board import Board
    from gatewayd.process.shared import SharedTable

logger = logging.getLogger("gatewayd.process")


async def serve_supervised(
    listener: socket.socket, end: socket.socket, board: Board, shared: SharedTable
) -> None:
    """Serve until SIGTERM, or until the supervisor is gone; a second SIGTERM breaks off exchanges.

    Returns as soon as the first configuration cannot be used; the supervisor has been told why.

    Args:
        listener: Bound socket.
        end: Our end of the channel to the supervisor.
        board: What one worker of the node tells the others.
        shared: What all of them read and write.

    """
    # Reloads come over the channel; a SIGHUP that reaches us all the same must not end us.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    plugins = Plugins()
    worker = Worker(listener, plugins, board, shared)
    channel = await Channel.over(end)
    try:
        if not await _take_next(channel, plugins, worker.start):
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        following = asyncio.create_task(_follow(channel, plugins, worker), name="configurations")
        await worker.serve()
        following.cancel()
        await asyncio.wait([following])
    except ChannelClosed:
        logger.warning("the supervisor went away during the start")
    finally:
        await worker.close()
        channel.close()


async def _follow(channel: Channel, plugins: Plugins, worker: Worker) -> None:
    """Take over every configuration that comes; stop when the supervisor is gone."""
    try:
        while True:
            await _take_next(channel, plugins, worker.reload)
    except ChannelClosed:
        worker.stop()


async def _take_next(
    channel: Channel, plugins: Plugins, take: Callable[[LoadedConfig], Awaitable[None]]
) -> bool:
    """Receive a configuration, take it over, answer; return whether it could be used."""
    packed = await channel.receive()
    try:
        await take(unpack(packed, plugins))
        refusal = ""
    except GatewayError as error:
        refusal = str(error)
    except Exception as error:
        logger.exception("a configuration could not be taken over")
        refusal = repr(error)
    await channel.send(refusal.encode())
    return not refusal
