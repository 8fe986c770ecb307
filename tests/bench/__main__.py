"""``python -m tests.bench``: gatewayd beside its peers; ``docs/performance.md`` has the method."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import figures, report
from tests.bench.contest import Plan, Result, run
from tests.bench.cpu import Cores
from tests.bench.peers import PEERS, MissingError, needed, versions
from tests.bench.workloads import WORKLOADS
from tests.support.process import ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main() -> int:
    """Run the benchmark and return the exit status: 1 where a contender failed."""
    options = _options()
    try:
        needed("wrk", "Debian package wrk")
        needed("nginx", "Debian package nginx-light")
    except MissingError as missing:
        print(f"the benchmark cannot run: {missing}", file=sys.stderr)
        return 1
    cores = Cores.of_this_machine()
    cores.pin_load()
    machine = {"processor": _processor(), "cores": str(cores), **versions()}
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as folder:
            results = _measure(options, Path(folder), cores)
            rows = [row for result in results for row in report.goals(result)]
            if "figures" in options.workloads:
                rows += figures.measure(Path(folder), cores, quick=options.smoke)
            print(f"\n{report.goal_table(rows)}", flush=True)
    except ProcessError as error:  # of an origin: peers may fail
        print(f"the benchmark cannot run: {error}", file=sys.stderr)
        return 1
    if options.json:
        contests = [report.as_data(result) for result in results]
        options.json.write_text(json.dumps({"machine": machine, "contests": contests}, indent=2))
    return 1 if any(result.failed for result in results) else 0


def _measure(options: argparse.Namespace, folder: Path, cores: Cores) -> list[Result]:
    results = []
    for name in options.workloads:
        if name not in WORKLOADS:
            continue
        own_folder = folder / name
        own_folder.mkdir()
        plan = Plan(
            own_folder,
            cores,
            options.peers,
            rounds=1 if options.smoke else options.rounds,
            seconds=1 if options.smoke else options.seconds,
            body_megabytes=100,
        )
        with WORKLOADS[name](plan) as contests:
            for contest in contests:
                result = run(contest, plan)
                print(f"\n{report.table(result)}", flush=True)
                results.append(result)
    return results


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one short round: does it all work?")
    parser.add_argument("--rounds", type=int, default=5, help="how often to load each peer")
    parser.add_argument("--seconds", type=int, default=4, help="how long to load it each time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    for option, known in [("--peers", list(PEERS)), ("--workloads", [*WORKLOADS, "figures"])]:
        parser.add_argument(
            option,
            type=_some_of(known),
            default=known,
            metavar="NAME,...",
            help=f"some of {', '.join(known)}; all by default",
        )
    return parser.parse_args()


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a parser of comma-separated names that must be among the known ones."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names).difference(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return names

    return parse


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


if __name__ == "__main__":
    sys.exit(main())
