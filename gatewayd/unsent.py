"""How much of what was written has not arrived: tells a slow peer from one that takes nothing."""

from __future__ import annotations

import fcntl
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def count_unsent(transport: asyncio.Transport | None) -> int:
    """Return the bytes that the peer has not acknowledged: those here, and the kernel's.

    The kernel's count as well: what it holds may take minutes to go, while what is here stands
    still.

    Args:
        transport: Of the connection; there is nothing where it is ``None`` or has ended.

    """
    sock = None if transport is None else transport.get_extra_info("socket")
    if transport is None or sock is None:  # TLS that has ended
        return 0
    try:
        queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:  # closed, though the loop has not told yet
        return 0
    return transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)
