"""A guard against getting slower: the instructions of an exchange, relative to Python's own.

``make bench-guard`` runs it, CI as well. The yardstick is a chain of filters that do nothing, which
is what this build of Python needs for a call and an await: another build changes both, something
slower in gatewayd only one. Only the chain itself, ``gatewayd.pipeline.link``, is not guarded.

A change that makes something cheaper, or dearer for a good reason, sets `LIMITS` again: about 8 %
above the larger of the ratios that it prints with the Pythons that ``.ci/run`` tests with.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.bench import counted
from tests.bench.instructions import CountError, per_exchange
from tests.bench.peers import MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMITS = {"filters": 0.982, "telemetry": 0.221, "bare": 0.913}
"""Highest ratio to the chain of each figure: all filters in memory; what metrics, access log and
unsampled tracing add to others; the bare proxy with its server and its sockets."""

_YARDSTICK = "chain"


def main() -> int:
    """Print the table; the status is 1 where a figure is above its limit or could not be had."""
    try:
        found = figures(per_exchange(counted.__name__))
    except (MissingError, CountError) as error:
        print(f"the guard cannot run: {error}", file=sys.stderr)
        return 1
    print(table(found))
    return 1 if too_slow(found) else 0


def figures(counts: Mapping[str, int]) -> dict[str, int]:
    """Return what is guarded, and the yardstick, from the instructions of the workloads."""
    return {
        _YARDSTICK: counts[_YARDSTICK],
        "filters": counts["filters"],
        "telemetry": counts["observed"] - counts["proxying"],
        "bare": counts["bare"],
    }


def too_slow(found: Mapping[str, int]) -> list[str]:
    """Return the names of the figures that are above their limits."""
    return [name for name, limit in LIMITS.items() if _ratio(found, name) > limit]


def table(found: Mapping[str, int]) -> str:
    """Return the figures with their limits, and a word beside what is above its own."""
    slow = too_slow(found)
    lines = [f"{'an exchange':<12}{'instructions':>12}{f'/ {_YARDSTICK}':>10}{'at most':>10}"]
    for name, count in found.items():
        limit = f"{LIMITS[name]:.3f}" if name in LIMITS else "-"
        line = f"{name:<12}{count:>12,}{_ratio(found, name):>10.3f}{limit:>10}"
        lines.append(f"{line}  TOO SLOW" if name in slow else line)
    return "\n".join(lines)


def _ratio(found: Mapping[str, int], name: str) -> float:
    return found[name] / found[_YARDSTICK]


if __name__ == "__main__":
    sys.exit(main())
