"""``gatewayd worker``: what a supervisor starts; of no use by itself."""

from __future__ import annotations

import socket

import uvloop

from gatewayd.process import logs
from gatewayd.process.supervised import serve_supervised


def worker(*, listener: int, channel: int, log_level: logs.LogLevel) -> None:
    """Serve for a supervisor; ``listener`` and ``channel`` are inherited file descriptors."""
    logs.configure(log_level)
    uvloop.run(serve_supervised(socket.socket(fileno=listener), socket.socket(fileno=channel)))
