"""The shared backend among processes that are killed, stopped, and in each other's way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from gatewayd import LockStuck, Metrics, SharedTable
from gatewayd.process.shared import make_shared_file
from gatewayd.testing import FakeClock
from gatewayd_filters.token_bucket.backend import BackendUnavailable, Charge, Limit
from gatewayd_filters.token_bucket.meter import Meter
from gatewayd_filters.token_bucket.shared import SharedBackend
from tests.filters.token_bucket.model import new_key
from tests.support.servers import REPOSITORY, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

LIMIT = Limit(20_000.0, 2_000.0, 1.0)
PROCESSES = 8
HOLDER = """
import os, sys, time
from gatewayd import SharedTable
table = SharedTable(int(sys.argv[1]))
place = table.place(sys.argv[2])
place.mutex.acquire()
{does}
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with make_shared_file(PROCESSES) as file:
        yield file


def backend_of(file: IO[bytes]) -> SharedBackend:
    return SharedBackend(SharedTable(file.fileno()), Meter(Metrics()))


@contextmanager
def python(file: IO[bytes], *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python with the table's file; it is killed at the end, and has said its first line."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        pass_fds=[file.fileno()],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def start_hammers(running: ExitStack, file: IO[bytes], key: str) -> list[subprocess.Popen[str]]:
    module = "tests.filters.token_bucket.hammer"
    arguments = ("-m", module, file.fileno(), key, LIMIT.rate, LIMIT.burst)
    processes = [running.enter_context(python(file, *arguments)) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return processes


def hammer(processes: Sequence[subprocess.Popen[str]], since: float, until: float) -> None:
    """Let processes take until a time, and count from another one on."""
    for process in processes:
        assert process.stdin is not None
        print(since, until, file=process.stdin, flush=True)


def granted(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.read())


@pytest.mark.parametrize("seconds", [1.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_processes_are_granted_the_limit_together(file: IO[bytes], seconds: float) -> None:
    key, limit = new_key(), LIMIT
    with ExitStack() as running:
        processes = start_hammers(running, file, key)
        until = time.monotonic() + seconds
        hammer(processes, 0.0, until)
        counts = list(map(granted, processes))
    table = SharedTable(file.fileno())
    index = table.find(table.place(key))
    since = table.numbers[index + 8]  # when the first one asked, as nobody asked for a minute
    promised = limit.rate * (until - since) + limit.burst
    assert min(counts) > 0
    assert sum(counts) == pytest.approx(promised, rel=0.005)


def test_the_others_go_on_when_processes_are_killed(file: IO[bytes]) -> None:
    with ExitStack() as running:
        processes = start_hammers(running, file, new_key())
        start = time.monotonic()
        since, until = start + 0.5, start + 1.5  # the bucket is empty long before
        hammer(processes, since, until)
        wait_until(lambda: time.monotonic() > start + 0.2, 5, "time for them to be at it")
        for process in processes[2:]:  # at some instruction each, as they do nothing else
            process.kill()
        counts = list(map(granted, processes[:2]))
    assert sum(counts) == pytest.approx(LIMIT.rate * (until - since), rel=0.005)


@contextmanager
def holding(file: IO[bytes], key: str, does: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the lock of a key's record."""
    with python(file, "-c", HOLDER.format(does=does), file.fileno(), key) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.mark.parametrize(
    "does",
    ["", "table.claim(place, time.monotonic())"],
    ids=["in an old record", "in a record that has no name yet"],
)
def test_a_lock_whose_holder_was_killed_is_free(file: IO[bytes], does: str) -> None:
    key, limit = new_key(), Limit(0.001, 5, 1)
    backend = backend_of(file)
    if not does:
        backend.take([Charge(key, limit, 2)])
    with holding(file, key, does) as process:
        process.kill()
        process.wait()
        verdict = backend.take([Charge(key, limit, 1)])
    assert verdict.allowed
    assert verdict.remaining[0] == pytest.approx(4 if does else 2, abs=0.1)


def test_a_lock_whose_holder_is_stopped_is_an_outage_that_costs_one_wait(file: IO[bytes]) -> None:
    backend, charges = backend_of(file), [Charge(new_key(), Limit(1, 5, 1), 1)]
    with holding(file, charges[0].key) as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(BackendUnavailable, match="ETIMEDOUT"):
            backend.take(charges)
        with pytest.raises(BackendUnavailable, match="does not go on"):
            backend.take(charges)
        with pytest.raises(BackendUnavailable, match="does not go on"):
            backend.take([*charges, Charge(new_key(), Limit(1, 5, 1), 1)])
        process.kill()
        process.wait()
        assert backend.take(charges).allowed


def test_a_bucket_outlives_the_process_that_made_it(file: IO[bytes]) -> None:
    key, limit = new_key(), Limit(0.001, 5, 1)
    backend_of(file).take([Charge(key, limit, 3)])
    assert backend_of(file).take([Charge(key, limit, 1)]).remaining[0] == pytest.approx(1, abs=0.1)


def test_without_room_full_buckets_go_first_and_others_are_counted(file: IO[bytes]) -> None:
    table, clock, meter = SharedTable(file.fileno()), FakeClock(), Meter(Metrics())
    backend = SharedBackend(table, meter, clock)
    first = table.place("first").start
    keys = [key for key in map("key {}".format, range(200_000)) if table.place(key).start == first]
    limit = Limit(1, 100, 1)
    for number, key in enumerate(keys[:16]):
        backend.take([Charge(key, limit, 1 + number)])  # full again after as many seconds
    clock.advance(1.5)
    backend.take([Charge(keys[16], limit, 50)])
    assert meter.evicted.value == 0
    assert table.find(table.place(keys[0])) == -1
    backend.take([Charge(keys[17], limit, 50)])
    assert meter.evicted.value == 1
    assert table.find(table.place(keys[1])) == -1
    assert table.find(table.place(keys[16])) > 0


def test_lock_stuck_is_no_reason_to_wait_for_others(file: IO[bytes]) -> None:
    table = SharedTable(file.fileno())
    place = table.place("mine")
    place.mutex.acquire()
    with pytest.raises(LockStuck):
        place.mutex.acquire()  # the same lock, which does not nest
    place.mutex.release()
    backend_of(file).take([Charge("mine", Limit(1, 1, 1), 1)])
