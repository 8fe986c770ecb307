"""The benchmark's results: an aligned table for people, plain data for everything else."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.contest import Result, Sample

Column = tuple[str, "Callable[[list[Sample]], str]"]
Row = tuple[str, str, str, str]
"""What a goal is about, the goal, what was found, and whether that is within it."""


def table(result: Result) -> str:
    """Return one contest's table: a row for each contender, medians over the rounds."""
    contest = result.contest
    columns = COLUMNS[contest.unit]
    rows = [["", *(title for title, _ in columns), f"CPU / {contest.baseline}"]]
    for name, samples in result.samples.items():
        ratio = result.compared(name)
        cells = [cell(samples) for _, cell in columns]
        rows.append([name, *cells, "-" if ratio is None else f"{ratio:.2f}"])
    lines = [contest.title, *_aligned(rows)]
    lines += [f"  {name}: missing: {reason}" for name, reason in result.missing.items()]
    lines += [f"  {name}: FAILED: {reason}" for name, reason in result.failed.items()]
    return "\n".join([*lines, *_goal(result)])


def _goal(result: Result) -> list[str]:
    return [
        f"  goal: {what} at most {goal}: {found}, {met}" for what, goal, found, met in goals(result)
    ]


def goals(result: Result) -> list[Row]:
    """Return the rows of a contest in the table of goals; none of what was not measured."""
    contest, rows = result.contest, []
    for goal in contest.goals:
        baseline = goal.baseline or contest.baseline
        found = result.compared(goal.contender, goal.measure, baseline)
        if found is None:
            continue
        what = f"{contest.name}: {goal.measure} of {goal.contender} / {baseline}"
        if goal.measure == "added us":
            what = f"{contest.name}: CPU of {goal.contender} - {baseline}, us"
        met = verdict(found, goal.at_most)
        rows.append((what, f"{goal.at_most:.2f}", f"{found:.2f}", met))
    return rows


def verdict(found: float, goal: float) -> str:
    """Return whether what was found is within the goal, in words."""
    return "met" if found <= goal else "not met"


def goal_table(rows: Sequence[Row]) -> str:
    """Return the table of all goals."""
    return "\n".join(["Goals", *_aligned([("", "at most", "found", ""), *rows])])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + row[0].ljust(widths[0])
        + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _rate(samples: list[Sample]) -> str:
    return f"{median(sample.load.amount / sample.load.seconds for sample in samples):,.0f}"


def _p99(samples: list[Sample]) -> str:
    return f"{median(sample.load.p99_ms or 0 for sample in samples):.1f}"


def _microseconds(samples: list[Sample]) -> str:
    return f"{median(sample.cost for sample in samples) * 1e6:.1f}"


def _microseconds_range(samples: list[Sample]) -> str:
    costs = [sample.cost * 1e6 for sample in samples]
    return f"{min(costs):.1f}-{max(costs):.1f}"


def _per_cpu_second(samples: list[Sample]) -> str:
    return f"{median(1 / sample.cost for sample in samples):,.0f}"


def _per_cpu_second_range(samples: list[Sample]) -> str:
    rates = [1 / sample.cost for sample in samples]
    return f"{min(rates):,.0f}-{max(rates):,.0f}"


COLUMNS: dict[str, list[Column]] = {
    "request": [
        ("requests/s", _rate),
        ("p99 ms", _p99),
        ("CPU us/request", _microseconds),
        ("range", _microseconds_range),
    ],
    "MB": [
        ("MB/s", _rate),
        ("MB/CPU second", _per_cpu_second),
        ("range", _per_cpu_second_range),
    ],
}
"""What a table shows, by the unit of its contest."""


def as_data(result: Result) -> dict[str, object]:
    """Return one contest's results with every sample, for JSON."""
    contest = result.contest
    return {
        "name": contest.name,
        "title": contest.title,
        "unit": contest.unit,
        "baseline": contest.baseline,
        "contenders": {
            name: {
                "cpu_seconds_per_unit": median(sample.cost for sample in samples),
                "cpu_ratio_to_baseline": result.compared(name),
                "samples": [_sample_data(sample) for sample in samples],
            }
            for name, samples in result.samples.items()
        },
        "missing": result.missing,
        "failed": result.failed,
    }


def _sample_data(sample: Sample) -> dict[str, float | None]:
    load = sample.load
    return {
        "amount": load.amount,
        "seconds": load.seconds,
        "cpu_seconds": sample.cpu_seconds,
        "p99_ms": load.p99_ms,
    }
