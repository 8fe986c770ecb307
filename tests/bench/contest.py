"""Several proxies measured side by side: started together, then loaded in turn, round by round.

Machines are noisy, and the noise changes within minutes. So no peer is measured alone for long:
each round loads every peer for a short while and starts at another one, and ratios are taken within
a round before the median over the rounds is.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

from tests.bench.cpu import cpu_seconds
from tests.bench.load import LoadError
from tests.bench.peers import MissingError, Place
from tests.support.process import ProcessError, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.bench.cpu import Cores
    from tests.bench.load import Load
    from tests.support.process import Process

WARM_UP_SECONDS = 1
"""Load before the first round: connections, caches and lazy imports are not what is measured."""

START_SECONDS = 60.0
"""Time for a peer to start; 10,000 routes take gatewayd some seconds."""


@dataclass(frozen=True)
class Plan:
    """What one run of the benchmark does."""

    folder: Path
    """Existing folder for everybody's files."""
    cores: Cores
    """Who runs where."""
    peers: Sequence[str]
    """Names of the peers to measure."""
    rounds: int
    """How often each peer is loaded."""
    seconds: int
    """How long each time."""
    body_megabytes: int
    """Size of a big body."""


Measure = Literal["CPU", "p99", "added us"]
"""CPU or p99 divided by the baseline's; CPU microseconds above the baseline's."""


@dataclass(frozen=True)
class Goal:
    """What this project aims at: a contender compared with a baseline."""

    contender: str
    at_most: float
    measure: Measure = "CPU"
    baseline: str | None = None
    """Another one than the contest's."""


@dataclass(frozen=True)
class Contender:
    """A proxy that takes part in a contest."""

    name: str
    make: Callable[[Place], Process]
    """Makes its process, which listens on the process's port once started."""
    check: Callable[[int], None]
    """Raises `LoadError` where the proxy on this port answers wrongly."""
    load: Callable[[int, float], Load]
    """Loads the proxy on this port for so many seconds."""


@dataclass(frozen=True)
class Contest:
    """One thing to compare, and by whom it is done."""

    name: str
    title: str
    unit: str
    """What load is counted in: ``request`` or ``MB``."""
    baseline: str
    """The contender that the others are compared with."""
    origins: Sequence[int]
    """Ports of the origins, which run already."""
    contenders: list[Contender]
    goals: Sequence[Goal] = ()


@dataclass(frozen=True)
class Sample:
    """One contender in one round."""

    load: Load
    cpu_seconds: float

    @property
    def cost(self) -> float:
        """CPU seconds per request or megabyte."""
        return self.cpu_seconds / self.load.amount


@dataclass
class Result:
    """What a contest found out."""

    contest: Contest
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    """What was measured, by contender, in the order of the rounds."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why a contender is not there, by name."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a contender was given up, by name."""

    def add(self, contender: Contender, sample: Sample) -> None:
        """Note what a contender did in one more round."""
        self.samples.setdefault(contender.name, []).append(sample)

    def compared(
        self, name: str, measure: Measure = "CPU", baseline: str | None = None
    ) -> float | None:
        """Return what a contender is beside a baseline, None without one of them."""
        others = self.samples.get(baseline or self.contest.baseline)
        if others is None or name not in self.samples:
            return None
        pairs = zip(self.samples[name], others, strict=True)
        return median(_COMPARE[measure](mine, theirs) for mine, theirs in pairs)


_COMPARE: dict[Measure, Callable[[Sample, Sample], float]] = {
    "CPU": lambda mine, theirs: mine.cost / theirs.cost,
    "p99": lambda mine, theirs: (mine.load.p99_ms or 0) / (theirs.load.p99_ms or 1),
    "added us": lambda mine, theirs: (mine.cost - theirs.cost) * 1e6,
}


def run(contest: Contest, plan: Plan) -> Result:
    """Run a contest; who is missing or fails is noted in the result and left out."""
    result = Result(contest)
    with ExitStack() as stack:
        running: list[tuple[Contender, Process]] = []
        for contender in contest.contenders:
            _say(f"{contest.name}: start {contender.name}")
            with _noted(result, contender):
                process = contender.make(_place(contender, contest, plan))
                stack.callback(process.stop)
                process.start(START_SECONDS)
                contender.check(process.port)
                contender.load(process.port, WARM_UP_SECONDS)
                running.append((contender, process))
        for number in range(plan.rounds):
            _say(f"{contest.name}: round {number + 1} of {plan.rounds}")
            for contender, process in _rotated(running, number):
                if contender.name not in result.failed:
                    with _noted(result, contender):
                        result.add(contender, _sample(contender, process, plan.seconds))
    return result


def _place(contender: Contender, contest: Contest, plan: Plan) -> Place:
    folder = plan.folder / contest.name / contender.name.replace(" ", "-")
    folder.mkdir(parents=True)
    return Place(folder, free_port(), contest.origins, plan.cores.proxy)


@contextmanager
def _noted(result: Result, contender: Contender) -> Iterator[None]:
    try:
        yield
    except MissingError as missing:
        result.missing[contender.name] = str(missing)
    except (LoadError, ProcessError) as error:
        result.failed[contender.name] = str(error)
        result.samples.pop(contender.name, None)


def _sample(contender: Contender, process: Process, seconds: float) -> Sample:
    before = cpu_seconds(process.pid)
    load = contender.load(process.port, seconds)
    return Sample(load, cpu_seconds(process.pid) - before)


def _rotated(
    running: list[tuple[Contender, Process]], steps: int
) -> list[tuple[Contender, Process]]:
    steps %= len(running) or 1
    return running[steps:] + running[:steps]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
