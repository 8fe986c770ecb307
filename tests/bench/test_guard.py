"""The guard takes differences, and fails only above a limit."""

from __future__ import annotations

import json

import pytest

from tests.bench import guard
from tests.bench.counted import WORKLOADS
from tests.bench.instructions import CountError, differences
from tests.bench.peers import MissingError

TOLD = json.dumps({"pids": {"chain": [11, 12], "bare": [13, 14]}, "exchanges": 100})
WITHIN = {"chain": 1_000_000} | {
    name: int(limit * 1_000_000) for name, limit in guard.LIMITS.items()
}


def callgrind(**totals: int) -> str:
    """Return what callgrind prints of processes, by pid, among other things."""
    return "".join(
        f"==10== For interactive control, run 'callgrind_control -h'.\n"
        f"=={name.removeprefix('pid')}== Events    : Ir\n"
        f"=={name.removeprefix('pid')}== Collected : {total}\n"
        for name, total in totals.items()
    )


def test_start_and_end_cancel() -> None:
    stderr = callgrind(pid12=5_200, pid11=5_000, pid13=7_000, pid14=7_900, pid10=4_000)
    assert differences(TOLD, stderr) == {"chain": 2, "bare": 9}


@pytest.mark.parametrize(
    "stderr",
    ["", "Killed\n", callgrind(pid11=1, pid12=2), callgrind(pid11=1, pid12=2, pid13=3)],
    ids=["nothing", "something else", "a workload is missing", "half of one is missing"],
)
def test_what_was_not_counted_is_told(stderr: str) -> None:
    with pytest.raises(CountError, match="not counted") as caught:
        differences(TOLD, stderr)
    assert str(caught.value).endswith(stderr.rstrip())


def test_telemetry_is_what_it_adds() -> None:
    counts = {"chain": 10, "filters": 11, "observed": 9, "proxying": 6, "bare": 12}
    assert guard.figures(counts) == {"chain": 10, "filters": 11, "telemetry": 3, "bare": 12}


def test_every_figure_but_the_yardstick_has_a_limit() -> None:
    names = guard.figures(dict.fromkeys(WORKLOADS, 1))
    assert set(names) == {"chain", *guard.LIMITS}


def test_nothing_is_too_slow_at_its_limit() -> None:
    assert guard.too_slow(WITHIN) == []
    assert "TOO SLOW" not in guard.table(WITHIN)


@pytest.mark.parametrize("name", guard.LIMITS)
def test_what_is_above_its_limit_is_too_slow(name: str) -> None:
    found = WITHIN | {name: WITHIN[name] + 1_000}
    assert guard.too_slow(found) == [name]
    (line,) = [line for line in guard.table(found).splitlines() if "TOO SLOW" in line]
    assert line.startswith(name)


@pytest.mark.parametrize(
    ("counts", "status"),
    [(1_000, 0), (10**9, 1), (CountError("bare failed"), 1), (MissingError("no program"), 1)],
    ids=["fast", "slow", "failed", "missing"],
)
def test_status(
    counts: int | Exception,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def count(module: str) -> dict[str, int]:
        if isinstance(counts, Exception):
            raise counts
        return dict.fromkeys(WORKLOADS, counts) | {"chain": 1_000_000}

    monkeypatch.setattr(guard, "per_exchange", count)
    assert guard.main() == status
    if isinstance(counts, Exception):
        assert str(counts) in capsys.readouterr().err
