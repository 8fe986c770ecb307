"""One metrics page over all workers, in Prometheus' text format or in OpenMetrics.

Workers hand in snapshots, :mod:`gatewayd.telemetry.totals` adds them up in the supervisor (or in
the only process), and what is served is written here.

The text is written here and not by ``prometheus_client``, which takes 47 ms of CPU for a page of
1,400 series (measured; this takes 6): with one worker that would be a pause of all exchanges. Its
parsers read the page in the tests.

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and OpenMetrics 1.0.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeAlias

from gatewayd.telemetry.metrics import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayd.telemetry import metrics as worker
    from gatewayd.telemetry.totals import Family, Key, Numbers, Totals

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Half a millisecond, with others in between: with one worker, exchanges wait meanwhile.
_LINES_AT_ONCE = 500

Snapshot: TypeAlias = "dict[str, dict[str, Any]]"
"""Families by name; each of ``kind``, ``help``, ``labels``, ``combine``, ``bounds``, and ``cells``
as pairs of label values and numbers. Lists and plain values throughout, for pickle and JSON."""


async def snapshot(metrics: worker.Metrics) -> Snapshot:
    """Return what a worker has counted so far, in plain values.

    Exchanges go on between two families: ten thousand series take milliseconds.
    """
    described = {}
    for family in metrics.read():
        described[family.name] = _describe(family)
        await asyncio.sleep(0)
    return described


def _describe(family: worker.Family[Cell] | worker.Family[worker.Histogram]) -> dict[str, Any]:
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


async def page(totals: Totals, accept: str) -> tuple[str, bytes]:
    """Return the page and its content type; lets others run now and then.

    Args:
        totals: What all workers have counted.
        accept: The Accept field of who asks; OpenMetrics is given to whoever takes it at least as
            gladly as plain text.

    """
    families = await totals.families()
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
    # Half a surrogate pair is no text, and no reason for having no page.
    return OPENMETRICS if openmetrics else TEXT, "".join(lines).encode("utf-8", "replace")


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


def _write_all(families: dict[str, Family], *, openmetrics: bool) -> Iterator[str]:
    for name, family in families.items():
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


def _write_histogram(name: str, family: Family) -> Iterator[str]:
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
