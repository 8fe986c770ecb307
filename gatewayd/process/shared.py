"""A table of small records that all workers of a node read and write.

It lies in memory that the supervisor makes and the workers inherit, so it outlives workers and
generations, and no server is needed. Keys are text; of each the table holds a keyed hash of 127
bits, whose secret is made with the table, so that nobody can choose keys that meet.

The hash selects a set of 16 records, in which the key's record may be anywhere, and whose lock is
held while one is read or written (see :mod:`gatewayd.process.mutex`). Where all 16 are taken, a new
key gets the place of the one that expires first: whoever owns a record says with it from when on it
is worth nothing.

A worker may be killed between any two instructions. A store of 8 aligned bytes is done or not done;
the record of a new key is filled first and named last; everything else is the order in which the
owner of a record writes its words.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import sys
from hashlib import blake2b
from typing import IO

from gatewayd.process.mutex import MUTEX_BYTES, Mutex

WORDS = 32
"""Words of 8 bytes in a record."""
EXPIRES = 2
"""Word of a record, a double: when it is worth nothing, in seconds of ``time.monotonic()``."""
DATA = 3
"""First word that is its owner's."""

MAX_WORKERS = (WORDS - DATA) * 2
"""As many as have room in a record with 4 bytes for each."""

_SETS = 4096
_WAYS = 16
_HEADER = 4096
_RECORDS = _HEADER + _SETS * MUTEX_BYTES
SIZE = _RECORDS + _SETS * _WAYS * WORDS * 8
"""Bytes of the whole: 65,536 records, 17 MB, of which only what is written takes memory."""

_SECRET = 16
_WORKERS = _SECRET // 8
_EPOCHS = _WORKERS + 1
_REMEMBERED = 16_384
_DIGEST = struct.Struct("=QQ")


def make_shared_file(workers: int) -> IO[bytes]:
    """Return the file behind a table, to be inherited by all workers. It is on no disk.

    Args:
        workers: How many processes are going to share it.

    """
    descriptor = os.memfd_create("gatewayd shared", os.MFD_CLOEXEC)
    file = os.fdopen(descriptor, "r+b", buffering=0)
    file.truncate(SIZE)
    file.write(os.urandom(_SECRET) + workers.to_bytes(8, sys.byteorder))
    memory = mmap.mmap(file.fileno(), SIZE)
    for number in range(_SETS):
        Mutex(memory, _HEADER + number * MUTEX_BYTES).initialise()
    return file


class SharedPlace:
    """Where the record of a key is or would be, as this process has found out.

    Attributes:
        mutex: The lock of its set.
        start: Word at which the set begins.

    """

    __slots__ = ("high", "index", "low", "mutex", "start")

    def __init__(self, mutex: Mutex, start: int, high: int, low: int) -> None:
        self.mutex = mutex
        self.start = start
        self.index = start
        self.high = high
        self.low = low


class SharedTable:
    """One process's view of the table.

    Args:
        descriptor: Of the file that :func:`make_shared_file` made.

    Attributes:
        numbers: All words as doubles.
        halves: All of it as unsigned numbers of 2 bytes, 4 of them in a word.
        places: Places of keys that were asked for; a bounded cache.
        evicted: Records that this process gave to another key before they expired.
        workers: How many processes share it.

    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, SIZE)
        # Never unmapped: when this process ends the kernel looks there for locks that it holds.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._memory))
        view = memoryview(self._memory)
        self._words = view.cast("Q")
        self.numbers = view.cast("d")
        self.halves = view.cast("H")
        self.places: dict[str, SharedPlace] = {}
        self.evicted = 0
        self._secret = bytes(view[:_SECRET])
        self.workers = self._words[_WORKERS]
        self._mutexes: dict[int, Mutex] = {}
        self._number: int | None = None

    def place(self, key: str) -> SharedPlace:
        """Return the place of a key. The same key has the same place in all processes."""
        place = self.places.get(key)
        if place is None:
            digest = blake2b(key.encode(), digest_size=16, key=self._secret).digest()
            high, low = _DIGEST.unpack(digest)
            number = low % _SETS
            mutex = self._mutexes.get(number)
            if mutex is None:
                mutex = Mutex(self._memory, _HEADER + number * MUTEX_BYTES)
                self._mutexes[number] = mutex
            start = _RECORDS // 8 + number * _WAYS * WORDS
            if len(self.places) >= _REMEMBERED:
                self.places.clear()
            place = self.places[key] = SharedPlace(
                mutex, start, high | 1, low
            )  # 0 is a free record
        return place

    def find(self, place: SharedPlace) -> int:
        """Return the first word of a key's record, -1 where it has none; under its lock."""
        words, index = self._words, place.index
        if words[index] == place.high and words[index + 1] == place.low:
            return index
        for index in range(place.start, place.start + _WAYS * WORDS, WORDS):
            if words[index] == place.high and words[index + 1] == place.low:
                place.index = index
                return index
        return -1

    def claim(self, place: SharedPlace, now: float) -> int:
        """Return the first word of a record that is nobody's; under its lock.

        Its data are to be written next, all that will be read, and then :meth:`name` is to be
        called.
        """
        words, expires = self._words, self.numbers
        chosen, earliest = place.start, float("inf")
        for index in range(place.start, place.start + _WAYS * WORDS, WORDS):
            if not words[index]:
                return index
            if expires[index + EXPIRES] < earliest:
                chosen, earliest = index, expires[index + EXPIRES]
        if earliest > now:
            self.evicted += 1
        words[chosen] = 0
        return chosen

    def name(self, place: SharedPlace, index: int) -> None:
        """Give a record to a key; under its lock."""
        self._words[index + 1] = place.low
        self._words[index] = place.high
        place.index = index

    def join(self) -> int:
        """Return a number for this process that no other process has as long as it lives.

        Raises:
            RuntimeError: all numbers are taken.

        """
        if self._number is not None:
            return self._number
        for number in range(min(self.workers, MAX_WORKERS)):
            if self._lock(number):
                self._words[_EPOCHS + number] += 1
                self._number = number
                return number
        raise RuntimeError("more processes share a table than it was made for")

    def epoch(self, number: int) -> int:
        """Return what changes, within 16 bits, when a number's process ends or gets another one."""
        return self._words[_EPOCHS + number] & 0xFFFF

    def bury(self, number: int) -> bool:
        """Begin a new epoch of a number, not one's own, if its process has ended."""
        if not self._lock(number):
            return False
        self._words[_EPOCHS + number] += 1
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)
        return True

    def _lock(self, number: int) -> bool:
        """Take a lock that the kernel lifts when this process ends, however it ends."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True
