"""Lines that are written by a thread, and what becomes of them where nobody takes them."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from gatewayd.telemetry.lines import STANDARD, LineWriter, Timestamps
from tests.support.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def writer(path: Path | str, capacity: int = 1000) -> LineWriter:
    return LineWriter(str(path), capacity=capacity, interval=0)


def test_lines_arrive_in_order(tmp_path: Path) -> None:
    lines = writer(tmp_path / "log")
    for number in range(500):
        lines.write(b"%d\n" % number)
    lines.close(10)
    assert (tmp_path / "log").read_text().split() == [str(number) for number in range(500)]
    assert (lines.full, lines.failed) == (0, 0)


def test_they_are_added_to_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    lines = writer(tmp_path / "log")
    lines.write(b"after\n")
    lines.close(10)
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_others_may_not_read_a_new_file(tmp_path: Path) -> None:
    writer(tmp_path / "log").close(10)
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("move", ["rename", "remove"])
def test_a_file_that_was_moved_away_is_made_again(tmp_path: Path, move: str) -> None:
    file = tmp_path / "log"
    lines = writer(file)
    lines.write(b"one\n")
    wait_until(lambda: file.read_bytes() == b"one\n", 10, "the first line")
    if move == "rename":
        file.rename(tmp_path / "log.1")
    else:
        file.unlink()
    lines.write(b"two\n")
    lines.close(10)
    assert file.read_bytes() == b"two\n"


def test_a_moved_file_that_fails_when_it_is_closed_is_let_go_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.close

    def close(descriptor: int) -> None:
        real(descriptor)  # which Linux does in any case (close(2))
        raise OSError(errno.EIO, "late failure of a network's disk")

    file = tmp_path / "log"
    lines = writer(file)
    file.unlink()
    with monkeypatch.context() as patches:
        patches.setattr("gatewayd.telemetry.lines.os.close", close)
        lines.write(b"one\n")
        wait_until(lambda: "0 wait" in repr(lines), 10, "the first line")
    lines.write(b"two\n")
    lines.close(10)
    assert file.read_bytes() == b"one\ntwo\n"


def test_no_lines_wake_nobody(tmp_path: Path) -> None:
    lines = writer(tmp_path / "log")
    (tmp_path / "log").unlink()
    lines.write_all(b"", 0)
    lines.close(10)
    assert not (tmp_path / "log").exists()  # which is opened again for a write


@pytest.fixture
def full_pipe(tmp_path: Path) -> Iterator[Path]:
    """A named pipe that somebody has open and nobody reads."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path
    os.close(reader)


def test_a_pipe_that_nobody_reads_blocks_nobody(full_pipe: Path) -> None:
    lines = writer(full_pipe, capacity=200)
    for _ in range(2000):  # two megabytes, of which the pipe takes 64 KB
        lines.write(b"x" * 1000 + b"\n")
    assert lines.full > 1000
    lines.close(1)
    assert lines.full + lines.failed > 1500


def test_closing_waits_no_longer_than_it_may(full_pipe: Path) -> None:
    lines = writer(full_pipe, capacity=1000)
    for _ in range(500):
        lines.write(b"x" * 1000 + b"\n")
    closing = threading.Thread(target=lines.close, args=(0.2,))
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    assert lines.failed > 0


def test_no_line_is_torn_for_who_reads_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received: list[bytes] = []
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(end, True)

    def read() -> None:
        with open(end, "rb") as stream:  # noqa: PTH123  # a descriptor
            received.extend(stream)

    lines = writer(path, capacity=1000)
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        lines.write(b"%d " % number + b"y" * 900 + b"\n")
    lines.close(10)
    reader.join(10)
    assert [int(line.split()[0]) for line in received] == list(range(300))


def test_a_full_disk_is_counted() -> None:
    lines = writer("/dev/full")
    lines.write(b"lost\n")
    lines.close(10)
    assert lines.failed == 1


def test_what_comes_after_a_failure_begins_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    outcomes = iter([3, OSError(28, "no space"), None])

    def write(descriptor: int, data: memoryview) -> int:
        outcome = next(outcomes, None)
        if isinstance(outcome, OSError):
            raise outcome
        return real(descriptor, data[:outcome])

    file = tmp_path / "log"
    lines = writer(file)
    monkeypatch.setattr("gatewayd.telemetry.lines.os.write", write)
    lines.write(b"torn line\n")
    wait_until(lambda: lines.failed == 1, 10, "the failure")
    lines.write(b"whole line\n")
    lines.close(10)
    assert file.read_bytes() == b"tor\nwhole line\n"


def test_an_event_of_several_lines_that_finds_no_place_counts_once(full_pipe: Path) -> None:
    lines = writer(full_pipe, capacity=2)
    for _ in range(5):
        lines.write(b"one\n    two\n")
    assert lines.full == 3
    lines.close(10)


def test_of_lines_in_one_piece_the_first_ones_find_place(tmp_path: Path) -> None:
    lines = writer(tmp_path / "log", capacity=2)
    lines.write_all(b"one\ntwo\nthree\n", 3)
    lines.close(10)
    assert lines.full == 1
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


@pytest.mark.usefixtures("disk")
def test_of_lines_in_one_piece_those_that_a_cut_write_has_written_do_not_count(
    tmp_path: Path,
) -> None:
    lines = writer(tmp_path / "log")
    lines.write_all(b"12345678\n" * 10, 10)
    lines.close(10)
    assert lines.failed == 8


def test_an_event_of_several_lines_that_cannot_be_written_counts_once() -> None:
    lines = writer("/dev/full")
    lines.write(b"Traceback\n    here\n    there\n")
    lines.close(10)
    assert lines.failed == 1


def test_events_of_several_lines_make_no_more_room_than_they_take() -> None:
    lines = writer("/dev/null", capacity=2)
    lines.write(b"one\n    two\n    three\n")
    wait_until(lambda: "0 wait" in repr(lines), 10, "the event")
    lines.write_all(b"x\n" * 5, 5)
    assert lines.full == 3
    lines.close(10)


def test_an_event_of_several_lines_is_written_to_a_pipe_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    lines = writer(path)
    event = b"a" * 1000 + b"\n    " + b"b" * 1995 + b"\n"  # two do not fit into one write
    for _ in range(100):
        lines.write(event)
    lines.close(0)
    received = b"".join(iter(lambda: read_some(reader), b""))
    os.close(reader)
    assert received == event * (100 - lines.failed)
    assert 0 < lines.failed < 100


def read_some(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except BlockingIOError:
        return b""


class Disk:
    """A disk that gets full: the write that comes there is cut, and later ones fail.

    Not a limit on the size of files (``RLIMIT_FSIZE``): the log of the tests themselves may be one.
    """

    def __init__(self, room: float) -> None:
        self.room = room  # in each file, in bytes
        self._write = os.write

    def write(self, descriptor: int, data: memoryview) -> int:
        left = self.room - os.fstat(descriptor).st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, "no space")
        return self._write(descriptor, data[: int(min(left, len(data)))])


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    full = Disk(25)
    monkeypatch.setattr("gatewayd.telemetry.lines.os.write", full.write)
    return full


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize(
    ("line", "lost"),
    [(b"12345678\n", 8), (b"1234\n", 5), (b"123456789012\n", 8), (b"1234\n678\n", 8)],
    ids=["cut", "between lines", "before the newline", "within an event"],
)
def test_lines_that_a_cut_write_has_written_do_not_count(
    tmp_path: Path, line: bytes, lost: int
) -> None:
    lines = LineWriter(str(tmp_path / "log"), capacity=10, interval=60)  # one write, at the end
    for _ in range(10):
        lines.write(line)
    lines.close(10)
    assert (tmp_path / "log").stat().st_size == 25
    assert lines.failed == lost


def test_what_comes_after_a_failure_between_lines_begins_at_once(
    tmp_path: Path, disk: Disk
) -> None:
    file = tmp_path / "log"
    lines = writer(file)
    disk.room = 5
    lines.write_all(b"1234\n" * 2, 2)
    wait_until(lambda: lines.failed == 1, 10, "the failure")
    disk.room = math.inf
    lines.write(b"next\n")
    lines.close(10)
    assert file.read_bytes() == b"1234\nnext\n"


@pytest.mark.parametrize(
    ("room", "between", "lost"),
    [(25, "", 3), (26, "", 3), (29, "1\n1\n", 1), (30, "1\n1\n", 1), (33, "1\n1\n1\n", 0)],
    ids=["nothing", "the new line alone", "before a newline", "between lines", "all"],
)
def test_what_a_disk_takes_after_a_torn_line_is_counted_and_the_next_line_is_whole(
    tmp_path: Path, disk: Disk, room: int, between: str, lost: int
) -> None:
    file = tmp_path / "log"
    lines = writer(file)
    lines.write(b"x" * 30 + b"\n")
    wait_until(lambda: "0 wait" in repr(lines), 10, "the torn line")
    disk.room = room
    lines.write_all(b"1\n" * 3, 3)
    wait_until(lambda: "0 wait" in repr(lines), 10, "lines that find little room")
    disk.room = math.inf
    lines.write(b"next\n")
    lines.close(10)
    assert file.read_text() == "x" * 25 + f"\n{between}next\n"
    assert lines.failed == 1 + lost


@pytest.mark.usefixtures("disk")
def test_a_new_file_does_not_begin_with_the_end_of_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "log"
    lines = writer(file)
    lines.write(b"x" * 30 + b"\n")
    wait_until(lambda: lines.failed == 1, 10, "the failure")
    file.rename(tmp_path / "log.1")
    lines.write(b"whole\n")
    lines.close(10)
    assert file.read_bytes() == b"whole\n"


def test_a_line_after_the_end_counts_as_failed(tmp_path: Path) -> None:
    lines = writer(tmp_path / "log")
    lines.close(10)
    lines.write(b"late\n")
    assert lines.failed == 1


def test_closing_again_counts_and_closes_nothing_again(full_pipe: Path) -> None:
    lines = writer(full_pipe)
    lines.write_all((b"x" * 1000 + b"\n") * 200, 200)
    lines.close(0)
    failed = lines.failed
    other = os.open(os.devnull, os.O_RDONLY)  # has the number of the descriptor that was closed
    lines.close(0)
    assert lines.failed == failed
    os.close(other)


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize("name", ["log", "pipe"])
def test_its_file_is_closed_at_the_end(full_pipe: Path, name: str) -> None:
    before = open_files()
    lines = writer(full_pipe.with_name(name))
    lines.write(b"one\n")
    lines.close(10)
    assert open_files() == before


def test_a_standard_stream_stays_open_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, end = os.pipe()
    monkeypatch.setitem(STANDARD, "stdout", end)
    before = open_files()
    writer("stdout").close(10)
    assert open_files() == before
    os.close(reader)
    os.close(end)


def test_no_line_waits_after_the_end(full_pipe: Path) -> None:
    lines = writer(full_pipe)
    lines.write_all((b"x" * 999 + b"\n") * 200, 200)
    lines.close(0)
    assert "0 wait" in repr(lines)


def test_what_a_full_pipe_costs_is_what_its_reader_does_not_get(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    lines = writer(path, capacity=150)
    for _ in range(300):
        lines.write(b"x" * 999 + b"\n")
    lines.close(0)
    received = b"".join(iter(lambda: read_some(reader), b""))
    os.close(reader)
    assert received.count(b"\n") + lines.full + lines.failed == 300


def test_a_write_that_does_not_return_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is not made non-blocking, as it is others' as well."""
    reader, end = os.pipe()
    monkeypatch.setitem(STANDARD, "stdout", end)
    lines = writer("stdout")
    lines.write_all((b"x" * 999 + b"\n") * 100, 100)
    lines.close(0)
    failed = lines.failed
    assert failed > 0
    thread = next(one for one in threading.enumerate() if one.name == "lines to stdout")
    os.close(reader)  # the write fails now, and the thread ends
    thread.join(10)
    os.close(end)
    assert lines.failed == failed


def test_a_full_pipe_with_a_descriptor_beyond_those_of_select(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]
    lines = writer(path)
    for one in others:
        os.close(one)
    lines.write_all((b"x" * 999 + b"\n") * 8, 8)
    wait_until(lambda: "4 wait" in repr(lines), 10, "a pipe that is full")
    received = bytearray()
    wait_until(lambda: len(received.__iadd__(read_some(reader))) == 8000, 10, "the lines")
    lines.close(10)
    os.close(reader)
    assert lines.failed == 0


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        writer(tmp_path / "nowhere" / "log")


def test_lines_for_a_pipe_without_a_reader_fail_until_there_is_one(tmp_path: Path) -> None:
    """A worker that starts while whoever reads the log restarts must start all the same."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines = writer(path)
    lines.write(b"lost\n")
    wait_until(lambda: lines.failed == 1, 10, "a line that is counted")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    lines.write(b"read\n")
    lines.close(10)
    received = read_some(reader)
    os.close(reader)
    assert (received, lines.failed) == (b"read\n", 1)


def test_a_pipe_that_nobody_ever_reads_is_closed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    lines = writer(tmp_path / "pipe")
    lines.write(b"lost\n")
    lines.close(10)
    assert (lines.unread, lines.failed) == (True, 1)


def test_a_pipe_without_a_reader_does_not_take_the_place_of_a_file(tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"
    lines = writer(path)
    path.rename(moved)
    os.mkfifo(path)
    lines.write(b"kept\n")
    lines.close(10)
    assert (moved.read_bytes(), lines.failed) == (b"kept\n", 0)


def test_a_socket_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device"):
            writer(tmp_path / "socket")


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_000_000_250, "2026-11-18T11:06:40.250Z"),
        (1_795_000_000_999, "2026-11-18T11:06:40.999Z"),
    ],
)
def test_times_are_those_of_rfc_3339(milliseconds: int, text: str) -> None:
    assert Timestamps().of(milliseconds) == text


def test_a_second_is_written_once_for_all_of_its_milliseconds() -> None:
    timestamps = Timestamps()
    assert [timestamps.of(1001), timestamps.of(1500), timestamps.of(2000)] == [
        "1970-01-01T00:00:01.001Z", "1970-01-01T00:00:01.500Z", "1970-01-01T00:00:02.000Z",
    ]  # fmt: skip
