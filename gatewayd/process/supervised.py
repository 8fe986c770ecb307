"""A worker that belongs to a supervisor: its configurations come over a channel."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from gatewayd.admin.commands import run_packed
from gatewayd.process.calls import Kind, Responder
from gatewayd.process.channel import Channel, ChannelClosed, unpack
from gatewayd.process.child import BREAK_OFF
from gatewayd.process.worker import Worker
from gatewayd.registry import Plugins

if TYPE_CHECKING:
    import socket

    from gatewayd.process.board import Board
    from gatewayd.process.shared import SharedTable

logger = logging.getLogger("gatewayd.process")


async def serve_supervised(
    listener: socket.socket, end: socket.socket, board: Board, shared: SharedTable
) -> None:
    """Serve until SIGTERM or SIGINT, or until the supervisor is gone.

    However many of these come, exchanges may end; only ``BREAK_OFF`` breaks them off after that.

    Returns as soon as the first configuration cannot be used; the supervisor has been told why.

    Args:
        listener: Bound socket.
        end: Our end of the channel to the supervisor.
        board: What one worker of the node tells the others.
        shared: What all of them read and write.

    """
    # Reloads come over the channel; a SIGHUP that reaches us all the same must not end us.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # held back by the supervisor
    plugins = Plugins()
    worker = Worker(listener, plugins, board, shared)
    channel = await Channel.over(end)

    async def take(packed: bytes) -> bytes:
        loaded = unpack(packed, plugins)
        await (worker.reload(loaded) if worker.started else worker.start(loaded))
        return b""

    async def answer(question: bytes) -> bytes:
        return await run_packed(worker.commands, question)

    responder = Responder(channel, {Kind.CONFIGURATION: take, Kind.QUESTION: answer})
    try:
        if not await responder.answer_next():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        loop.add_signal_handler(BREAK_OFF, worker.break_off)
        following = asyncio.create_task(_follow(responder, worker), name="calls")
        await worker.serve()
        following.cancel()
        await asyncio.wait([following])
    except ChannelClosed:
        logger.warning("the supervisor went away during the start")
    finally:
        await worker.close()
        channel.close()


async def _follow(responder: Responder, worker: Worker) -> None:
    """Answer the supervisor; stop when it is gone."""
    await responder.run()
    worker.stop()
