"""Lines that are written by a thread, and what becomes of them where nobody takes them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from gatewayd.telemetry.lines import LineWriter, Timestamps
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

    def read() -> None:
        with path.open("rb") as stream:
            received.extend(stream)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: opens(path), 10, "a reader")
    lines = writer(path, capacity=1000)
    for number in range(300):
        lines.write(b"%d " % number + b"y" * 900 + b"\n")
    lines.close(10)
    reader.join(10)
    assert [int(line.split()[0]) for line in received] == list(range(300))


def opens(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


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


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        writer(tmp_path / "nowhere" / "log")


def test_a_pipe_without_a_reader_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        writer(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_795_000_000.25, "2026-11-18T11:06:40.250Z"),
        (1_795_000_000.9999, "2026-11-18T11:06:40.999Z"),
    ],
)
def test_times_are_those_of_rfc_3339(now: float, text: str) -> None:
    assert Timestamps().of(now) == text


def test_a_second_is_written_once_for_all_of_its_milliseconds() -> None:
    timestamps = Timestamps()
    assert [timestamps.of(1.001), timestamps.of(1.5), timestamps.of(2.0)] == [
        "1970-01-01T00:00:01.000Z", "1970-01-01T00:00:01.500Z", "1970-01-01T00:00:02.000Z",
    ]  # fmt: skip
