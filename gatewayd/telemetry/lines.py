"""Lines written from a thread of their own, so that a slow disk or a full pipe blocks nobody.

Whoever writes appends to a queue of bounded length, and what finds no place there is counted. The
thread writes many lines at once. It is woken once for a batch and not for each line: waking it
costs more than a line does.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
import time
from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD: Final = {"stdout": 1, "stderr": 2}
"""Destinations that are no files."""

# Writes to a pipe of at most so many bytes are not mixed with those of other processes (pipe(7)).
_PIPE_BYTES = 4096
_NEWLINE = ord("\n")
_UNREAD = -1  # in the place of a descriptor: a named pipe cannot be opened while nobody reads it
_STUCK_SECONDS = 0.5  # for a destination that takes nothing, beyond the time at the end


class LineWriter:
    """Writes lines to a file or a standard stream.

    A file is opened again when it was moved or removed, as logrotate does. Lines for a named pipe
    that nobody reads fail until somebody does: it may be that its reader starts later, or again.

    Args:
        path: ``stdout``, ``stderr``, or a file that is appended to, and made where it is missing.
        capacity: Lines that may wait.
        interval: Seconds over which lines are gathered into one write.

    Attributes:
        capacity: Lines that may wait; may be changed.
        full: Lines that were dropped because too many waited.
        failed: Lines that could not be made or written.

    Raises:
        OSError: the file cannot be opened.

    """

    def __init__(self, path: str, *, capacity: int, interval: float) -> None:
        self.full = 0
        self.failed = 0
        self._path = "" if path in STANDARD else path
        self._descriptor = STANDARD[path] if path in STANDARD else _open(path)
        self._is_file = self._is_regular()
        self.capacity = capacity
        self._interval = interval
        self._lock = threading.Lock()
        # Lines that wait, many in one piece, and how many they are.
        self._pieces: list[tuple[bytes, int]] = []
        self._waiting = 0  # lines that were taken and are not written
        self._awake = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._closed = False
        self._torn = False
        self._give_up_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"lines to {path}", daemon=True)
        self._thread.start()

    @property
    def unread(self) -> bool:
        """Whether the destination is a named pipe that nobody had open when it was last tried."""
        return self._descriptor == _UNREAD

    def write(self, line: bytes) -> None:
        """Have a line written, its newline included; never blocks.

        What has newlines within it, such as an event with a stack, is one line here: it is dropped
        as a whole and counted once.
        """
        self.write_all(line, 1)

    def write_all(self, lines: bytes, count: int) -> None:
        """Have lines written that end with a newline and have none within; never blocks.

        Args:
            lines: The lines, in one piece. That costs less than to have them one by one.
            count: How many there are. Of a single one, newlines within are its own.

        """
        with self._lock:
            if self._closed:
                self.failed += count
                return
            room = max(self.capacity - self._waiting, 0)
            if room < count:
                self.full += count - room
                lines, count = b"".join(lines.splitlines(keepends=True)[:room]), room
            if not count:
                return
            self._pieces.append((lines, count))
            self._waiting += count
        if not self._awake:
            self._awake = True
            self._wake.set()

    def lose(self, count: int) -> None:
        """Count lines as failed that could not even be made."""
        with self._lock:
            self.failed += count

    def close(self, seconds: float) -> None:
        """Write what waits, for at most so many seconds; what is left then counts as failed.

        So does what comes later. Closing again does nothing.
        """
        if self._closing.is_set():
            return
        self._give_up_at = time.monotonic() + seconds
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds + _STUCK_SECONDS)
        with self._lock:
            # Lines of a write that does not return, and those that came after the last one.
            self._closed = True
            self.failed += self._waiting
            self._waiting = 0
            self._pieces = []
        if self._path and not self.unread and not self._thread.is_alive():
            os.close(self._descriptor)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(self._interval)
            self._wake.clear()
            self._awake = False
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        with self._lock:
            pieces, self._pieces = self._pieces, []
        if not pieces:
            return
        if self._path:
            self._follow()
        data = memoryview(b"".join([lines for lines, _ in pieces]))
        if self._is_file:
            count = sum([count for _, count in pieces])
            written = self._write_lines(data)
            # Where each line ends is only asked where it matters, as there are many.
            self._settle(
                count, count if written == len(data) else _whole(_ends(pieces), 0, written)
            )
            return
        start = 0
        for ends in self._chunks(_ends(pieces)):
            written = self._write_lines(data[start : ends[-1]])
            if not self._settle(len(ends), _whole(ends, start, written)):
                return
            start = ends[-1]

    def _settle(self, count: int, whole: int) -> bool:
        """Count lines that do not wait any more, and return whether to go on."""
        with self._lock:
            if self._closed:  # while we wrote, and all that waited was counted
                return False
            # Nobody can be told but by the count: what would be told is what cannot be written.
            self.failed += count - whole
            self._waiting -= count
            return True

    def _chunks(self, ends: list[int]) -> Iterator[list[int]]:
        """Return where the lines end, of those at a time that are written to a pipe at once."""
        first = start = 0
        while first < len(ends):
            # At the end of a line, be it one that is too long for a pipe.
            last = max(bisect_right(ends, start + _PIPE_BYTES - self._torn, first), first + 1)
            yield ends[first:last]
            first, start = last, ends[last - 1]

    def _write_lines(self, data: memoryview) -> int:
        """Write lines, on a new line where the last one was torn, and return how many bytes."""
        newline = b"\n" * self._torn
        written = self._write(newline + data if newline else data) - len(newline)
        if written >= 0:
            self._torn = 0 < written < len(data) and data[written - 1] != _NEWLINE
        return max(written, 0)

    def _write(self, data: bytes | memoryview) -> int:
        """Write as much as can be written, and return how many bytes that was."""
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._descriptor, view)
            except BlockingIOError:  # a pipe that is full
                if self._closing.is_set() and time.monotonic() >= self._give_up_at:
                    break
                self._wait_for_room()
            except OSError:
                break
            else:
                view = view[written:]
        return len(data) - len(view)

    def _wait_for_room(self) -> None:
        poll = select.poll()  # and not select(), which knows no descriptor beyond 1023
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll(_STUCK_SECONDS / 5 * 1000)

    def _follow(self) -> None:
        """Open the file again where it is not the one that stands under its name any more."""
        with suppress(OSError):  # then the lines go where they went before
            if self.unread:
                self._descriptor = _open(self._path)
                self._is_file = self._is_regular()
                return
            here = os.fstat(self._descriptor)
            try:
                there = os.stat(self._path)  # noqa: PTH116  # of the same kind as the one above
                moved = (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)
            except FileNotFoundError:
                moved = True
            if moved and (opened := _open(self._path)) != _UNREAD:
                old, self._descriptor = self._descriptor, opened
                self._is_file = self._is_regular()
                self._torn = False
                # Last, as it may fail and closes all the same: the number may be another file's or
                # a client's by now.
                os.close(old)

    def _is_regular(self) -> bool:
        try:
            return stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except OSError:  # a standard stream that was closed before we came
            return False

    def __repr__(self) -> str:
        return f"<lines to {self._path or self._descriptor}: {self._waiting} wait>"


def _ends(pieces: list[tuple[bytes, int]]) -> list[int]:
    """Return where the lines of some pieces end, one behind the other."""
    sizes: list[int] = []
    for lines, count in pieces:
        sizes.extend((len(lines),) if count == 1 else map(len, lines.splitlines(keepends=True)))
    return list(accumulate(sizes))


def _whole(ends: list[int], start: int, written: int) -> int:
    """Return how many lines are whole where so many bytes from a start on are written."""
    # One that lacks its newline only is whole: the next line that is written brings it.
    return bisect_right(ends, start + written + 1) if written else 0


def _open(path: str) -> int:
    # Not for others to read: lines tell who has called what. A named pipe must not wait for its
    # reader, and a device must not become our terminal.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        return os.open(path, flags, 0o640)
    except OSError as error:
        # Of a socket or a device, the same number tells that it can never be opened like this.
        if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116
            return _UNREAD
        raise


def encodable(text: str) -> str:
    """Return text that UTF-8 can encode, with lone surrogates escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


class Timestamps:
    """Writes times in RFC 3339, with milliseconds, in UTC."""

    def __init__(self) -> None:
        self._second = -1
        self._until_second = ""

    def of(self, milliseconds: int) -> str:
        """Return the text of a time of the Unix clock, in milliseconds."""
        second, milliseconds = divmod(milliseconds, 1000)
        if second != self._second:
            self._until_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._until_second}.{milliseconds:03d}Z"
