"""Messages that come back through a tunnel: WebSocket as a proxy sees it, which is bytes.

A proxy that tunnels does not look into frames, so the messages are 1 KB of bytes that the origin
sends back. What is counted is messages; each goes through the proxy twice.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import TYPE_CHECKING

from tests.bench.load import TIMEOUT, Load, LoadError
from tests.support.process import Process

if TYPE_CHECKING:
    from pathlib import Path

SOCKETS = 16
"""Connections that have a message under way."""

MESSAGE = b"x" * 1024
_HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_ORIGIN = """
import asyncio, sys, uvloop

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.head = transport, b""

    def data_received(self, data):
        if self.head is not None:
            self.head += data
            if b"\\r\\n\\r\\n" in self.head:
                self.head = None
                self.transport.write(
                    b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\n"
                    b"Upgrade: websocket\\r\\n\\r\\n"
                )
            return
        self.transport.write(data)

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

uvloop.run(main())
"""


def echo_origin(folder: Path, port: int) -> Process:
    """Return the origin."""
    program = folder / "echo_origin.py"
    program.write_text(_ORIGIN)
    return Process([sys.executable, program, str(port)], folder / "echo_origin.log", port=port)


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(_HANDSHAKE)
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(4096)
        if not piece:
            raise LoadError(f"no upgrade: {head!r}")
        head += piece
    if not head.startswith(b"HTTP/1.1 101"):
        raise LoadError(f"no upgrade: {head[:200]!r}")
    return sock


def check_echoes(port: int) -> None:
    """Send a message and look at what comes back.

    Raises:
        LoadError: It is something else.
    """
    with _connect(port) as sock:
        sock.sendall(b"hello")
        if (got := sock.recv(100)) != b"hello":
            raise LoadError(f"another message came back: {got!r}")


def echoes(port: int, seconds: float) -> Load:
    """Send messages and wait for each before the next, on several connections at once.

    Raises:
        LoadError: A connection was closed.
    """
    socks = {sock.fileno(): sock for sock in (_connect(port) for _ in range(SOCKETS))}
    missing = dict.fromkeys(socks, len(MESSAGE))
    poll = select.epoll()
    count = 0
    started = time.monotonic()
    try:
        for number, sock in socks.items():
            poll.register(number, select.EPOLLIN)
            sock.sendall(MESSAGE)
        while (elapsed := time.monotonic() - started) < seconds:
            for number, _ in poll.poll(1.0):
                got = len(socks[number].recv(65536))
                if not got:
                    raise LoadError("a connection was closed")
                missing[number] -= got
                if not missing[number]:
                    count += 1
                    missing[number] = len(MESSAGE)
                    socks[number].sendall(MESSAGE)
    finally:
        poll.close()
        for sock in socks.values():
            sock.close()
    return Load(count, elapsed)
