"""The table that workers share, and its locks."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import pytest

from gatewayd import LockStuck
from gatewayd.process.shared import DATA, EXPIRES, WORDS, SharedTable, make_shared_file
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

NOW = 1000.0


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with make_shared_file(3) as file:
        yield file


@pytest.fixture
def table(file: IO[bytes]) -> SharedTable:
    return SharedTable(file.fileno())


def put(table: SharedTable, key: str, value: float, expires: float = NOW) -> None:
    place = table.place(key)
    place.mutex.acquire()
    index = table.find(place)
    if index < 0:
        index = table.claim(place, NOW)
        table.numbers[index + DATA] = value
        table.numbers[index + EXPIRES] = expires
        table.name(place, index)
    place.mutex.release()


def get(table: SharedTable, key: str) -> float | None:
    index = table.find(table.place(key))
    return None if index < 0 else table.numbers[index + DATA]


def in_another_process(file: IO[bytes], program: str) -> str:
    program = f"from gatewayd import SharedTable\ntable = SharedTable({file.fileno()})\n{program}"
    return subprocess.check_output(
        [sys.executable, "-c", program], pass_fds=[file.fileno()], cwd=REPOSITORY, text=True
    )


def neighbours(table: SharedTable, number: int) -> list[str]:
    """Return keys whose records are in one set."""
    start = table.place("key 0").start
    keys = (f"key {n}" for n in range(1_000_000))
    return list(islice((key for key in keys if table.place(key).start == start), number))


def test_a_record_is_found_again_and_others_are_not(table: SharedTable) -> None:
    put(table, "one", 1.5)
    put(table, "two", 2.5)
    assert (get(table, "one"), get(table, "two"), get(table, "three")) == (1.5, 2.5, None)


def test_other_processes_see_it(file: IO[bytes], table: SharedTable) -> None:
    put(table, "one", 1.5)
    printed = in_another_process(
        file, f"print(table.numbers[table.find(table.place('one')) + {DATA}], table.workers)"
    )
    assert printed == "1.5 3\n"


def test_two_tables_place_keys_differently() -> None:
    starts = set()
    for _ in range(4):
        with make_shared_file(1) as file:
            starts.add(SharedTable(file.fileno()).place("key").start)
    assert len(starts) > 1


def test_in_a_full_set_the_record_goes_that_expires_first(table: SharedTable) -> None:
    keys = neighbours(table, 18)
    for number, key in enumerate(keys[:16]):
        put(table, key, number, expires=NOW + (number - 3) ** 2)
    put(table, keys[16], 16, expires=NOW + 1000)
    assert [get(table, key) for key in keys[2:5]] == [2, None, 4]
    assert table.evicted == 0
    put(table, keys[17], 17, expires=NOW + 1000)
    assert table.evicted == 1


def test_a_record_without_a_name_is_free(table: SharedTable) -> None:
    place = table.place("key")
    index = table.claim(place, NOW)
    assert table.find(place) == -1
    assert table.claim(place, NOW) == index


def test_records_do_not_overlap(table: SharedTable) -> None:
    keys = neighbours(table, 16)
    for number, key in enumerate(keys):
        put(table, key, number)
    indexes = sorted(table.find(table.place(key)) for key in keys)
    steps = {later - earlier for earlier, later in pairwise(indexes)}
    assert steps == {WORDS}
    assert [get(table, key) for key in keys] == list(range(16))


def test_places_that_are_remembered_are_bounded(
    table: SharedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.process.shared._REMEMBERED", 10)
    for number in range(25):
        put(table, f"key {number}", number)
    assert len(table.places) == 5
    assert get(table, "key 0") == 0


def test_processes_have_different_numbers(file: IO[bytes], table: SharedTable) -> None:
    assert table.join() == 0
    assert in_another_process(file, "print(table.join(), table.join())") == "1 1\n"


def test_there_are_as_many_numbers_as_workers() -> None:
    with make_shared_file(1) as file:
        SharedTable(file.fileno()).join()
        refused = "try: table.join()\nexcept RuntimeError as error: print(error)"
        assert "more processes" in in_another_process(file, refused)


def test_an_epoch_ends_with_its_process(file: IO[bytes], table: SharedTable) -> None:
    table.join()
    epoch = int(in_another_process(file, "print(table.epoch(table.join()))"))
    assert table.epoch(1) == epoch
    assert table.bury(1)
    assert table.epoch(1) == epoch + 1


def test_a_number_in_use_is_not_buried(file: IO[bytes], table: SharedTable) -> None:
    table.join()
    epoch = table.epoch(0)
    assert in_another_process(file, "print(table.bury(0))") == "False\n"
    assert table.epoch(0) == epoch


def test_a_lock_that_is_held_is_waited_for_and_then_given_up(table: SharedTable) -> None:
    mutex = table.place("key").mutex
    mutex.acquire()
    with pytest.raises(LockStuck, match="cannot be had"):
        mutex.acquire()
    with pytest.raises(LockStuck, match="does not go on"):
        mutex.acquire()
    mutex.release()
    mutex.acquire()
    mutex.release()


def test_a_lock_is_had_again_after_its_holder_ended(file: IO[bytes], table: SharedTable) -> None:
    for _ in range(3):
        in_another_process(file, "table.place('key').mutex.acquire()")
        table.place("key").mutex.acquire()
        table.place("key").mutex.release()
