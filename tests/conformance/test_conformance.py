"""gatewayd against every case; the peers' results are in docs/conformance.md.

One gatewayd and one origin serve all cases, on one event loop that runs while a case does: a fresh
start for each would take minutes, and a state that one case leaves behind for the next is what the
runner looks for anyway.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.conformance.bench import bench
from tests.conformance.suite import CASES
from tests.conformance.targets import GATEWAYD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conformance.case import Case, Observation

PATIENCE = 10.0
"""Seconds to wait for what should come; only failures take them."""


@pytest.fixture(scope="module")
def run_case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], Observation]]:
    folder = tmp_path_factory.mktemp("conformance")
    with asyncio.Runner() as runner:
        context = bench(GATEWAYD, folder, PATIENCE)
        running = runner.run(context.__aenter__())
        try:
            yield lambda case: runner.run(running.run(case))
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, run_case: Callable[[Case], Observation]) -> None:
    observation = run_case(case)

    problems = case.problems(observation, ours=True)

    assert not problems, f"{case.title} ({case.source})\n{observation.evidence}"
