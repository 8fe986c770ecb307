"""A page of memory that all workers of a node see, and one of them writes.

One worker does what only one of a node should do, such as checking the health of instances, and
the others read what it found. Which one that is, a POSIX lock decides: the kernel lifts it when its
holder ends, however it ends, and the next one that asks takes over. There is nothing to elect, and
nothing to tell the supervisor.

The page holds a length, a checksum and JSON. A reader that meets a write half done sees a checksum
that is wrong, keeps what it read last, and looks again at its next turn.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import struct
import tempfile
import zlib
from typing import IO, TYPE_CHECKING, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE = 16 * 1024 * 1024
"""Bytes of the page: hundreds of thousands of instances. It takes memory only as far as it is
written."""

Entries: TypeAlias = "Mapping[str, Mapping[str, bool]]"

_HEADER = struct.Struct("!II")
logger = logging.getLogger("gatewayd.process")


def make_board_file() -> IO[bytes]:
    """Return the file behind a board, to be inherited by all workers; it has no name."""
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # it is open as long as workers run
    file.truncate(SIZE)
    return file


class Board:
    """One process's view of the page.

    Args:
        descriptor: Of the file that :func:`make_board_file` made.

    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._page = mmap.mmap(descriptor, SIZE)
        self._written: dict[str, Mapping[str, bool]] = {}
        self._seen = bytes(_HEADER.size)  # as long as nobody has written
        self._read: Entries = {}

    def claim(self) -> bool:
        """Return whether this process is the one that writes, from now on until it ends."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def publish(self, key: str, values: Mapping[str, bool] | None) -> None:
        """Write an entry, or take it away where ``values`` is ``None``; only after a claim."""
        if self._written.get(key) == values:
            return
        if values is None:
            del self._written[key]
        else:
            self._written[key] = dict(values)
        payload = orjson.dumps(self._written)
        end = _HEADER.size + len(payload)
        if end > SIZE:
            logger.error("health of %d services is too much to share", len(self._written))
            return
        self._page[_HEADER.size : end] = payload
        self._page[: _HEADER.size] = _HEADER.pack(len(payload), zlib.crc32(payload))

    def read(self) -> Entries:
        """Return what was published last."""
        header = self._page[: _HEADER.size]
        if header != self._seen:
            length, checksum = _HEADER.unpack(header)
            payload = self._page[_HEADER.size : _HEADER.size + length]
            if zlib.crc32(payload) == checksum:
                self._seen, self._read = header, orjson.loads(payload)
        return self._read
