"""Contests are fair, and nobody drops out of them silently."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bench.contest import Contender, Contest, Goal, Plan, Result, Sample, run
from tests.bench.cpu import Cores
from tests.bench.load import Load, LoadError
from tests.bench.peers import MissingError, Place
from tests.bench.report import as_data, table
from tests.support.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LISTEN = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""


def listener(place: Place) -> Process:
    command = [sys.executable, "-c", LISTEN, str(place.port)]
    return Process(command, place.folder / "log", port=place.port)


def missing(place: Place) -> Process:
    raise MissingError("not installed")


def ends_at_once(place: Place) -> Process:
    return Process([sys.executable, "-c", ""], place.folder / "log", port=place.port)


def wrong(port: int) -> None:
    raise LoadError("wrong answer")


def broken_off(port: int, seconds: float) -> Load:
    raise LoadError("no answer")


def contest(contenders: list[Contender], *goals: Goal) -> Contest:
    return Contest("test", "A test", "request", "base", [], contenders, goals)


def contender(name: str, make: Callable[[Place], Process] = listener) -> Contender:
    return Contender(name, make, lambda port: None, lambda port, seconds: Load(1, 1, 1))


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan for contenders that idle; each time one is asked it has cost one more second."""
    seconds = itertools.count()
    monkeypatch.setattr("tests.bench.contest.cpu_seconds", lambda pid: next(seconds))
    return Plan(tmp_path, Cores(None, None), [], rounds=3, seconds=0, body_megabytes=1)


def test_each_round_starts_at_another_contender(plan: Plan) -> None:
    order = []

    def noting(name: str) -> Contender:
        def load(port: int, seconds: float) -> Load:
            order.append(name)
            return Load(1, 1, 1)

        return Contender(name, listener, lambda port: None, load)

    result = run(contest([noting("a"), noting("b"), noting("c")]), plan)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"  # the first three warm up
    assert {name: len(samples) for name, samples in result.samples.items()} == dict.fromkeys(
        "abc", 3
    )


def test_missing_contender_is_named_with_the_reason(plan: Plan) -> None:
    result = run(contest([contender("base"), contender("gone", missing)]), plan)
    assert result.missing == {"gone": "not installed"}
    assert "gone: missing: not installed" in table(result)


@pytest.mark.parametrize(
    "broken",
    [
        contender("broken", ends_at_once),
        Contender("broken", listener, wrong, lambda port, seconds: Load(1, 1, 1)),
        Contender("broken", listener, lambda port: None, broken_off),
    ],
    ids=["does not start", "answers wrongly", "fails under load"],
)
def test_failed_contender_is_reported_and_not_measured(plan: Plan, broken: Contender) -> None:
    result = run(contest([contender("base"), broken]), plan)
    assert list(result.samples) == ["base"]
    assert "broken: FAILED" in table(result)
    assert as_data(result)["failed"] == result.failed


def result_of(costs: dict[str, list[float]], *goals: Goal) -> Result:
    samples = {
        name: [Sample(Load(1_000_000, 10, 2.5), cost) for cost in own]
        for name, own in costs.items()
    }
    return Result(contest([], *goals), samples)


def test_ratio_is_taken_within_rounds() -> None:
    # The machine got three times slower in the last round; the ratio of medians would be 0.25.
    result = result_of({"base": [20, 40, 120], "ours": [10, 20, 60]})
    assert result.compared("ours") == 0.5


def test_there_is_no_ratio_without_the_baseline() -> None:
    assert result_of({"ours": [10]}).compared("ours") is None


@pytest.mark.parametrize(("limit", "verdict"), [(0.5, "0.50, met"), (0.4, "0.50, not met")])
def test_table_tells_whether_the_goal_is_met(limit: float, verdict: str) -> None:
    result = result_of({"base": [20], "ours": [10]}, Goal("ours", limit))
    assert table(result).endswith(verdict)


@pytest.mark.parametrize(("limit", "verdict"), [(5, "5.00, met"), (4, "5.00, not met")])
def test_what_is_added_is_taken_within_rounds(limit: float, verdict: str) -> None:
    goal = Goal("ours", limit, "added us", baseline="other")
    result = result_of({"other": [20, 60, 30], "ours": [26, 65, 31]}, goal)
    assert table(result).endswith(f"test: CPU of ours - other, us at most {limit:.2f}: {verdict}")


def test_table_is_aligned() -> None:
    lines = table(result_of({"base": [20, 30], "a longer name": [10, 20]})).splitlines()
    assert lines == [
        "A test",
        "                 requests/s  p99 ms  CPU us/request      range  CPU / base",
        "  base              100,000     2.5            25.0  20.0-30.0        1.00",
        "  a longer name     100,000     2.5            15.0  10.0-20.0        0.58",
    ]
