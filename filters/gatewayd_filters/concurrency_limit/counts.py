"""Counts of exchanges under way, of one process and of all workers of a node.

Workers share a record for each caller, with a cell for each worker: the worker's epoch and its
count. A worker writes its own cell only, and the count is the sum of all cells. When a worker is
killed its exchanges end with it: its epoch ends too, by which its cells count no more. Whoever is
about to refuse an exchange looks first whether a worker has ended.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from gatewayd import LockStuck

if TYPE_CHECKING:
    from gatewayd import SharedPlace, SharedTable

# Words of a record.
_EXPIRES, _CELLS, _END = 2, 3, 32
_HALVES = 4
"""Numbers of 2 bytes in a word; a cell has two."""

_KEPT_SECONDS = 86_400.0
"""For how long a count that is not 0 goes before others when there is no room: no exchange takes
longer, but for the odd tunnel."""


class LocalCounts:
    """Counts of one process. A caller with nothing under way takes no memory."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def enter(self, key: str, limit: int) -> bool:
        """Count one more, unless there are as many as may be; return whether it was counted."""
        count = self._counts.get(key, 0)
        if count >= limit:
            return False
        self._counts[key] = count + 1
        return True

    def leave(self, key: str) -> None:
        """Count one less."""
        count = self._counts[key] - 1
        if count:
            self._counts[key] = count
        else:
            del self._counts[key]

    def __len__(self) -> int:
        return len(self._counts)


class SharedCounts:
    """Counts of all workers of a node.

    Args:
        table: The node's shared table.

    """

    def __init__(self, table: SharedTable) -> None:
        self._table = table
        self._late: deque[str] = deque()

    def enter(self, key: str, limit: int) -> bool:
        """Count one more, unless there are as many as may be; return whether it was counted.

        Raises:
            LockStuck: the record's lock cannot be had.

        """
        table = self._table
        if self._late:
            self._leave_late()
        place = self._place(key)
        place.mutex.acquire()
        try:
            index = table.find(place)
            if index < 0:
                index = table.claim(place, time.monotonic())
                for word in range(index + _CELLS, index + _END):
                    table.numbers[word] = 0.0
                table.name(place, index)
            if self._sum(index) >= limit:
                self._bury(index)
                if self._sum(index) >= limit:
                    return False
            self._add(index, 1)
        finally:
            place.mutex.release()
        return True

    def leave(self, key: str) -> None:
        """Count one less; later, if the record's lock cannot be had now."""
        place = self._place(key)
        try:
            place.mutex.acquire()
        except LockStuck:
            self._late.append(key)
            return
        try:
            index = self._table.find(place)
            if index >= 0:  # else another caller has got the record
                self._add(index, -1)
        finally:
            place.mutex.release()

    def _place(self, key: str) -> SharedPlace:
        """Return a caller's place in the table, in which `token_bucket` has its buckets as well."""
        return self._table.place("in flight|" + key)

    def _leave_late(self) -> None:
        for _ in range(len(self._late)):
            self.leave(self._late.popleft())

    def _sum(self, index: int) -> int:
        table = self._table
        cell = _cell(index, 0)
        total = 0
        for number in range(table.workers):
            count = table.halves[cell + 1]
            if count and table.halves[cell] == table.epoch(number):
                total += count
            cell += 2
        return total

    def _bury(self, index: int) -> None:
        """End the epochs of workers that have a count and are gone.

        Joining ends that of whoever had this worker's number before.
        """
        table, own = self._table, self._table.join()
        for number in range(table.workers):
            cell = _cell(index, number)
            epoch, count = table.halves[cell], table.halves[cell + 1]
            if number != own and count and epoch == table.epoch(number):
                table.bury(number)

    def _add(self, index: int, change: int) -> None:
        table, own = self._table, self._table.join()
        halves, cell = table.halves, _cell(index, own)
        epoch = table.epoch(own)
        if halves[cell] != epoch:  # of a process that had this number before
            halves[cell + 1] = 0
            halves[cell] = epoch
        halves[cell + 1] = max(0, halves[cell + 1] + change)
        now = time.monotonic()
        table.numbers[index + _EXPIRES] = now + (_KEPT_SECONDS if self._sum(index) else 0.0)


def _cell(index: int, worker: int) -> int:
    """Return where a worker's cell of a record begins, counted in halves of 2 bytes."""
    return (index + _CELLS) * _HALVES + 2 * worker
