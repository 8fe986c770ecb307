"""Runs the cases against gatewayd and the peers: ``python -m tests.conformance [--write]``."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.conformance.bench import bench
from tests.conformance.report import DOCUMENT, Result, render
from tests.conformance.suite import CASES
from tests.conformance.targets import GATEWAYD, PEERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conformance.case import Case
    from tests.conformance.targets import Target

PATIENCE = 3.0
"""Seconds to wait for what should come. Peers that wait for more bytes cost this once per case."""


def main() -> int:
    """Run the command; return its exit status, 1 where gatewayd fails a case."""
    arguments = _arguments()
    targets = [target for target in (GATEWAYD, *PEERS) if arguments.only in ("", target.name)]
    cases = [case for case in CASES if re.search(arguments.case, case.id)]
    versions = {target.name: version for target in targets if (version := target.version())}
    results = asyncio.run(_run_all([one for one in targets if one.name in versions], cases))
    for name, by_case in results.items():
        wrong = [case_id for case_id, result in by_case.items() if result.problems]
        print(f"{name} {versions[name]}: {len(by_case) - len(wrong)} of {len(by_case)}")
        if name == GATEWAYD.name or arguments.only:
            _print_problems(by_case, evidence=bool(arguments.case))
    if arguments.write:
        DOCUMENT.write_text(render(versions, results))
    ours = results.get(GATEWAYD.name, {})
    return int(any(result.problems for result in ours.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {DOCUMENT.name}")
    parser.add_argument("--only", default="", help="run one proxy, by its name in the table")
    parser.add_argument("--case", default="", help="run cases whose id matches this pattern")
    arguments = parser.parse_args()
    if arguments.write and (arguments.only or arguments.case):
        parser.error("--write needs every case and every proxy")
    return arguments


async def _run_all(targets: list[Target], cases: Sequence[Case]) -> dict[str, dict[str, Result]]:
    results = await asyncio.gather(*(_run(target, cases) for target in targets))
    return {target.name: result for target, result in zip(targets, results, strict=True)}


async def _run(target: Target, cases: Sequence[Case]) -> dict[str, Result]:
    ours = target is GATEWAYD
    results = {}
    with TemporaryDirectory(prefix="conformance-") as folder:
        async with bench(target, Path(folder), PATIENCE) as running:
            for case in cases:
                if ours or not case.gatewayd_only:
                    results[case.id] = Result(case, await running.run(case), ours=ours)
    return results


def _print_problems(results: dict[str, Result], *, evidence: bool) -> None:
    for case_id, result in results.items():
        if result.problems and evidence:
            print(result.evidence)
        for problem in result.problems:
            print(f"  {case_id}: {result.seen}: {problem}")


if __name__ == "__main__":
    sys.exit(main())
