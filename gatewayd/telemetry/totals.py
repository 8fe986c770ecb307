"""What all workers have counted, added up: what the metrics page and the admin API show.

A counter must not go backwards because a worker was replaced. What a worker had counted when it
ended stays in a base that the living ones are added to; gauges end with their worker. Three things
keep a sum from going back although its parts only grow:

- Numbers are added exactly, in whole units of 2 ** -40: a sum of floats depends on their order, and
  the order changes when a worker ends.
- A name that has been shown stays shown: whether it goes under ``other`` is settled when it is
  first seen, and for good.
- What is shown is read at one moment. Parts are replaced and never changed, so that a page that is
  being written, with pauses, does not see one worker before its end and another one after it.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from gatewayd.telemetry.metrics import MAX_CELLS, OTHER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayd.telemetry.exposition import Snapshot

Key: TypeAlias = tuple[str, ...]
Numbers: TypeAlias = list[float]

# Below a picosecond where seconds are counted; a power of two, so that no float changes its digits.
_UNIT = 1 << 40
# What units make of it is still a float; nothing that is counted comes near.
_LARGEST = 2.0**900


@dataclass(frozen=True, slots=True)
class Family:
    """One family: of one worker, or added up.

    Attributes:
        kind, help, labels, combine: As in :class:`gatewayd.telemetry.metrics.Family`.
        bounds: Upper bounds of a histogram; empty where nothing has been observed.
        cells: Numbers by label values: a value alone, or the counts of a histogram and its sum.
            Values of counters and sums of histograms are in units; gauges are as they are.

    """

    kind: str
    help: str
    labels: Key
    combine: str
    bounds: list[float]
    cells: Mapping[Key, Numbers]

    def plus(self, others: Iterable[Family]) -> Family:
        """Return all together, without those that disagree about what this one is.

        Workers with other code may run beside those before them in the middle of an upgrade.
        """
        what = (self.kind, self.labels, self.combine)
        bounds, cells = self.bounds, dict(self.cells)
        for other in others:
            if (other.kind, other.labels, other.combine) != what:
                continue
            if bounds and other.bounds != bounds:
                continue
            bounds = bounds or other.bounds
            for key, numbers in other.cells.items():
                known = cells.get(key)
                cells[key] = numbers if known is None else self._together(known, numbers)
        return replace(self, bounds=bounds, cells=cells)

    def _together(self, one: Numbers, other: Numbers) -> Numbers:
        if self.combine == "max":
            return [max(one[0], other[0])]
        if self.combine == "min":
            return [min(one[0], other[0])]
        return [first + second for first, second in zip(one, other, strict=True)]

    def in_plain_numbers(self) -> Family:
        """Return the same without units."""
        if self.kind == "gauge":
            return self
        cells = {key: [*numbers[:-1], _plain(numbers[-1])] for key, numbers in self.cells.items()}
        return replace(self, cells=cells)


Families: TypeAlias = "Mapping[str, Family]"


@dataclass(frozen=True, slots=True)
class _Worker:
    incarnation: int
    asked: int
    families: Families


class Totals:
    """What all workers have counted, those that have ended included."""

    def __init__(self) -> None:
        self._base: Families = {}
        self._living: dict[int, _Worker] = {}
        self._ended: dict[int, int] = {}
        self._admitted: dict[str, set[Key]] = {}

    async def update(self, slot: int, incarnation: int, snapshot: Snapshot, asked: int) -> None:
        """Take a worker's snapshot, unless a later one is here or the worker has ended by now.

        Exchanges go on between two families.

        Args:
            slot: The worker's number, which its successor will have as well.
            incarnation: Tells it from its successors; theirs are higher.
            snapshot: See :func:`gatewayd.telemetry.exposition.snapshot`.
            asked: Higher for what was asked for later: of two answers on their way at once, the
                later one may be here first.

        """
        families = {}
        for name, described in snapshot.items():
            families[name] = self._read(name, described, slot)
            await asyncio.sleep(0)
        if incarnation <= self._ended.get(slot, -1):
            return  # what it had counted is in the base
        known = self._living.get(slot)
        if known is not None:
            if (known.incarnation, known.asked) > (incarnation, asked):
                return
            if known.incarnation != incarnation:
                self.worker_ended(slot, known.incarnation)
        self._living[slot] = _Worker(incarnation, asked, families)

    def worker_ended(self, slot: int, incarnation: int) -> None:
        """Keep what the worker had told it had counted; its gauges end."""
        self._ended[slot] = max(incarnation, self._ended.get(slot, -1))
        last = self._living.get(slot)
        if last is None or last.incarnation > incarnation:
            return
        del self._living[slot]
        base = dict(self._base)
        for name, family in last.families.items():
            if family.kind != "gauge":
                base[name] = base[name].plus([family]) if name in base else family
        self._base = base

    async def families(self) -> dict[str, Family]:
        """Return all families, added up, in plain numbers, sorted by name.

        Exchanges go on between two families; what is returned is of one moment.
        """
        parts = self._parts()
        added: dict[str, Family] = {}
        for name in sorted({name for part in parts for name in part}):
            added[name] = _sum(part[name] for part in parts if name in part)
            await asyncio.sleep(0)
        return added

    def cells(self, name: str) -> list[tuple[Key, Numbers]]:
        """Return the cells of one family over all workers: label values and numbers."""
        parts = [part[name] for part in self._parts() if name in part]
        return list(_sum(parts).cells.items()) if parts else []

    def _parts(self) -> list[Families]:
        return [self._base, *(one.families for _, one in sorted(self._living.items()))]

    def _read(self, name: str, described: Mapping[str, Any], slot: int) -> Family:
        kind, labels = described["kind"], tuple(described["labels"])
        pairs: Iterable[tuple[list[str], Numbers]] = described["cells"]
        if kind == "gauge":
            combine = described["combine"]
            where = (str(slot),) if combine == "worker" else ()
            labels += ("worker",) if where else ()
            cells = {(*values, *where): [_number(one[0])] for values, one in pairs}
        else:
            combine, cells = "sum", self._counted(name, pairs)
        return Family(kind, described["help"], labels, combine, described["bounds"], cells)

    def _counted(self, name: str, pairs: Iterable[tuple[list[str], Numbers]]) -> dict[Key, Numbers]:
        """Return cells in units, under names of a bounded number over all workers of all times."""
        admitted = self._admitted.setdefault(name, set())
        cells: dict[Key, Numbers] = {}
        for values, numbers in pairs:
            key = tuple(values)
            if key not in admitted:
                if len(admitted) < MAX_CELLS:
                    admitted.add(key)
                else:
                    key = (OTHER,) * len(key)
            exact = [*numbers[:-1], _units(numbers[-1])]
            known = cells.get(key)
            if known is not None:
                exact = [one + other for one, other in zip(known, exact, strict=True)]
            cells[key] = exact
        return cells


def _sum(parts: Iterable[Family]) -> Family:
    first, *others = parts
    return first.plus(others).in_plain_numbers()


def _number(value: float | None) -> float:
    """Return the value; JSON has ``null`` for whatever is not finite."""
    return math.nan if value is None else value


def _units(value: float | None) -> float:
    if value is None or not abs(value) < _LARGEST:
        return math.nan
    return int(value * _UNIT)


def _plain(units: float) -> float:
    if not isinstance(units, int):
        return units  # not a number
    whole, rest = divmod(units, _UNIT)
    return units / _UNIT if rest else whole
