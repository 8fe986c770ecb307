"""``gatewayd worker``: what a supervisor starts; of no use by itself."""

from __future__ import annotations

import socket

import uvloop

from gatewayd.process import logs
from gatewayd.process.board import Board
from gatewayd.process.shared import SharedTable
from gatewayd.process.supervised import serve_supervised


def worker(*, listener: int, channel: int, board: int, shared: int) -> None:
    """Serve for a supervisor; the numbers are inherited file descriptors."""
    logs.configure()
    sockets = socket.socket(fileno=listener), socket.socket(fileno=channel)
    uvloop.run(serve_supervised(*sockets, Board(board), SharedTable(shared)))
