"""One metrics page over all workers, in Prometheus' text format or in OpenMetrics.

Workers hand in snapshots; what is served is added up here, in the supervisor (or in the only
process). A counter must not go backwards because a worker was replaced: what a worker had counted
when it ended stays in a base that the living ones are added to. Gauges end with their worker.

The text is written here and not by ``prometheus_client``, which takes 47 ms of CPU for a page of
1,400 series (measured; this takes 6): with one worker that would be a pause of all exchanges. Its
parsers read the page in the tests.

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and OpenMetrics 1.0.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeAlias

from gatewayd.telemetry.metrics import MAX_CELLS, OTHER, Cell

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from gatewayd.telemetry.metrics import Family, Histogram, Metrics

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Half a millisecond, with others in between: with one worker, exchanges wait meanwhile.
_LINES_AT_ONCE = 500

Snapshot: TypeAlias = "dict[str, dict[str, Any]]"
"""Families by name; each of ``kind``, ``help``, ``labels``, ``combine``, ``bounds``, and ``cells``
as pairs of label values and numbers. Lists and plain values throughout, for pickle and JSON."""

Key: TypeAlias = tuple[str, ...]
Numbers: TypeAlias = list[float]


async def snapshot(metrics: Metrics) -> Snapshot:
    """Return what a worker has counted so far, in plain values.

    Exchanges go on between two families: ten thousand series take milliseconds.
    """
    described = {}
    for family in metrics.read():
        described[family.name] = _describe(family)
        await asyncio.sleep(0)
    return described


def _describe(family: Family[Cell] | Family[Histogram]) -> dict[str, Any]:
    bounds: list[float] = []
    cells: list[tuple[list[str], Numbers]] = []
    for values, cell in family.cells().items():
        if isinstance(cell, Cell):
            cells.append((list(values), [cell.value]))
        else:
            bounds = list(cell.bounds)
            cells.append((list(values), [*cell.counts, cell.sum]))
    return {
        "kind": family.kind,
        "help": family.help,
        "labels": list(family.label_names),
        "combine": family.combine,
        "bounds": bounds,
        "cells": cells,
    }


class _Sum:
    """One family, added up."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.kind: str = described["kind"]
        self.help: str = described["help"]
        self.labels: Key = tuple(described["labels"])
        self.combine: str = described["combine"] if self.kind == "gauge" else "sum"
        self.bounds: list[float] = described["bounds"]
        self.cells: dict[Key, Numbers] = {}
        if self.combine == "worker":
            self.labels += ("worker",)

    def add(self, cells: Iterable[tuple[Iterable[str], Numbers]], slot: int) -> None:
        """Add a worker's cells, or those of the base."""
        for values, numbers in cells:
            key = (*values, str(slot)) if self.combine == "worker" else tuple(values)
            known = self.cells.get(key)
            if known is None and len(self.cells) >= MAX_CELLS:
                # Workers one after the other may have known different names.
                key = (OTHER,) * len(key)
                known = self.cells.get(key)
            self.cells[key] = list(numbers) if known is None else self._combined(known, numbers)

    def _combined(self, known: Numbers, numbers: Numbers) -> Numbers:
        if self.combine == "max":
            return [max(known[0], numbers[0])]
        if self.combine == "min":
            return [min(known[0], numbers[0])]
        return [one + other for one, other in zip(known, numbers, strict=True)]


class Totals:
    """What all workers have counted, those that have ended included."""

    def __init__(self) -> None:
        self._base: dict[str, _Sum] = {}
        self._live: dict[int, tuple[Hashable, Snapshot]] = {}
        self._ended: dict[int, Hashable] = {}

    def update(self, slot: int, incarnation: Hashable, snapshot: Snapshot) -> None:
        """Take a worker's latest snapshot.

        Args:
            slot: The worker's number, which its successor will have as well.
            incarnation: Tells it from its successor, such as its process id and start.
            snapshot: See :func:`snapshot`. One of a worker that has ended by now is ignored: what
                it had counted is in the base.

        """
        if self._ended.get(slot) == incarnation and slot in self._ended:
            return
        if slot in self._live and self._live[slot][0] != incarnation:
            self.worker_ended(slot)
        self._live[slot] = incarnation, snapshot

    def worker_ended(self, slot: int) -> None:
        """Keep what the worker had counted; its gauges end."""
        if slot not in self._live:
            return
        incarnation, last = self._live.pop(slot)
        self._ended[slot] = incarnation
        lasting = {name: one for name, one in last.items() if one["kind"] != "gauge"}
        _add(self._base, lasting, slot)

    def cells(self, name: str) -> list[tuple[Key, Numbers]]:
        """Return the cells of one family over all workers: label values and numbers."""
        families: dict[str, _Sum] = {}
        if name in self._base:
            families[name] = total = _Sum(vars(self._base[name]))
            total.add(self._base[name].cells.items(), 0)
        for slot, (_, latest) in self._live.items():
            if name in latest:
                _add(families, {name: latest[name]}, slot)
        return list(families[name].cells.items()) if name in families else []

    async def page(self, accept: str) -> tuple[str, bytes]:
        """Return the page and its content type; lets others run now and then.

        Args:
            accept: The Accept field of who asks; OpenMetrics is given to whoever takes it at least
                as gladly as plain text.

        """
        families: dict[str, _Sum] = {}
        for name, base in self._base.items():
            families[name] = total = _Sum(vars(base))
            total.add(base.cells.items(), 0)
            await asyncio.sleep(0)
        for slot, (_, latest) in sorted(self._live.items()):
            for name, described in latest.items():
                _add(families, {name: described}, slot)
                await asyncio.sleep(0)
        openmetrics = _wants_openmetrics(accept)
        lines: list[str] = []
        paused_at = 0
        for line in _write_all(families, openmetrics=openmetrics):
            lines.append(line)
            if len(lines) - paused_at >= _LINES_AT_ONCE:
                paused_at = len(lines)
                await asyncio.sleep(0)
        if openmetrics:
            lines.append("# EOF\n")
        return OPENMETRICS if openmetrics else TEXT, "".join(lines).encode()


def _add(families: dict[str, _Sum], snapshot: Snapshot, slot: int) -> None:
    for name, described in snapshot.items():
        total = families.get(name)
        if total is None:
            total = families[name] = _Sum(described)
        # A worker with other code, in the middle of an upgrade, is left out where it disagrees.
        if total.kind == described["kind"] and _same_shape(total, described):
            total.bounds = total.bounds or described["bounds"]
            total.add(described["cells"], slot)


def _same_shape(total: _Sum, described: dict[str, Any]) -> bool:
    labels = tuple(described["labels"]) + (("worker",) if total.combine == "worker" else ())
    bounds = described["bounds"]
    return labels == total.labels and (not bounds or not total.bounds or bounds == total.bounds)


def _wants_openmetrics(accept: str) -> bool:
    quality = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media not in quality:
            continue
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        quality[media] = max(quality[media], weight)
    wanted = quality["application/openmetrics-text"]
    return wanted > 0 and wanted >= quality["text/plain"]


def _write_all(families: dict[str, _Sum], *, openmetrics: bool) -> Iterator[str]:
    for name, family in sorted(families.items()):
        shown = f"{name}_total" if family.kind == "counter" and not openmetrics else name
        yield f"# HELP {shown} {_escape(family.help, quotes=openmetrics)}\n"
        yield f"# TYPE {shown} {family.kind}\n"
        if family.kind == "histogram":
            yield from _write_histogram(name, family)
        else:
            sample = f"{name}_total" if family.kind == "counter" else name
            for key, numbers in family.cells.items():
                labels = _labels(family.labels, key)
                yield f"{sample}{{{labels}}} " if labels else f"{sample} "
                yield f"{_number(numbers[0])}\n"


def _write_histogram(name: str, family: _Sum) -> Iterator[str]:
    bounds = [f'le="{_number(float(bound))}"}} ' for bound in (*family.bounds, math.inf)]
    for key, numbers in family.cells.items():
        labels = _labels(family.labels, key)
        start = f"{name}_bucket{{{labels}{',' if labels else ''}"
        count: float = 0
        for index, bound in enumerate(bounds):
            count += numbers[index]
            yield f"{start}{bound}{count}\n"
        end = f"{{{labels}}}" if labels else ""
        yield f"{name}_count{end} {count}\n{name}_sum{end} {_number(numbers[-1])}\n"


def _labels(names: Key, values: Key) -> str:
    return ",".join(
        f'{name}="{_escape(value, quotes=True)}"' for name, value in zip(names, values, strict=True)
    )


def _escape(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)
