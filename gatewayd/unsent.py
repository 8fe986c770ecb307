"""What of the bytes written has arrived: tells a slow peer from one that takes nothing.

A transport tells too little. What waits in it stands still while the kernel's share goes, for
minutes where the peer is slow, and with TLS there is more of it in between.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_BYTES_ACKED = slice(120, 128)  # tcpi_bytes_acked of struct tcp_info, since Linux 4.1


def count_taken(transport: asyncio.Transport | None) -> int:
    """Return the bytes that the peer has acknowledged since it is connected.

    Args:
        transport: Of the connection; none are told where it is ``None`` or has ended.

    """
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None:  # TLS that has ended
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.stop)
    except (OSError, ValueError):  # closed, though the loop has not told yet
        return 0
    return int.from_bytes(info[_BYTES_ACKED], sys.byteorder)


def is_taken(transport: asyncio.Transport) -> bool:
    """Whether the peer has acknowledged all that was written, as far as is known here."""
    if transport.get_write_buffer_size():
        return False
    sock = transport.get_extra_info("socket")
    if sock is None:  # TLS that has ended
        return True
    try:
        queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (OSError, ValueError):  # closed, though the loop has not told yet
        return True
    return not any(queued)
