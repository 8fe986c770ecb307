"""access_log: which exchanges get a line, where lines go, and what a reload keeps of that."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from gatewayd import ConfigError, Response
from gatewayd.testing import Recorder, in_memory, make_exchange, make_gateway, running
from gatewayd_filters.access_log import AccessLog
from tests.support.access_logs import configured, ended, logged
from tests.support.in_process import serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("status", "always", "lines"),
    [
        (200, ["4xx", "5xx"], 0),
        (404, ["4xx", "5xx"], 1),
        (503, ["4xx", "5xx"], 1),
        (404, ["5xx"], 0),
        (201, [201], 1),
        (503, [], 0),
    ],
)
async def test_without_a_share_only_what_is_always_logged(
    tmp_path: Path, status: int, always: list[object], lines: int
) -> None:
    upstream = Recorder(Response(status))
    written = await logged(tmp_path, upstream=upstream, sample_ratio=0, always=always)
    assert len(written) == lines


async def test_a_client_that_has_left_is_always_logged(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    settings = {"path": str(path), "sample_ratio": 0, "always": []}
    async with running(AccessLog, settings) as access_log:
        exchange = make_exchange()
        exchange.error = ConnectionResetError("gone")
        access_log.report([exchange])
    assert json.loads(path.read_bytes())["http.response.status_code"] == 499


@pytest.mark.parametrize(
    ("target", "status", "lines"),
    [
        ("/items/health", 200, 0),
        ("/items/health?verbose=1", 200, 0),
        ("/items/health", 503, 1),
        ("/items/healthy", 200, 1),
    ],
)
async def test_excluded_paths_are_logged_where_they_fail(
    tmp_path: Path, target: str, status: int, lines: int
) -> None:
    upstream = Recorder(Response(status))
    written = await logged(tmp_path, target, upstream=upstream, exclude_paths=["/items/health"])
    assert len(written) == lines


async def test_a_line_is_made_when_the_exchange_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with running(AccessLog, {"path": str(path)}) as access_log:
        await access_log(ended(make_exchange()), Recorder())
    assert path.read_bytes() == b""


async def test_a_log_is_continued(tmp_path: Path) -> None:
    for _ in range(2):
        lines = await logged(tmp_path)
    assert len(lines) == 2


async def test_a_log_is_not_for_everybody_to_read(tmp_path: Path) -> None:
    await logged(tmp_path)
    assert (tmp_path / "access.log").stat().st_mode & 0o007 == 0


async def test_a_log_that_was_moved_is_opened_again(tmp_path: Path) -> None:
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    async with in_memory(configured(path)) as gateway:
        path.rename(moved)
        await gateway.send("GET", "/items/7")
    assert (path.read_bytes().count(b"\n"), moved.read_bytes()) == (1, b"")


async def test_lines_that_cannot_be_written_are_counted() -> None:
    gateway = make_gateway()
    async with running(AccessLog, {"path": "/dev/full"}, gateway=gateway) as access_log:
        access_log.report([ended(make_exchange())])
    dropped = gateway.metrics.counter("gatewayd_access_log_dropped_lines", "", ("reason",))
    assert dropped.labels("failed").value == 1


async def test_lines_that_cannot_be_made_are_counted(tmp_path: Path) -> None:
    gateway = make_gateway()
    broken = ended(make_exchange())
    broken.route = "no route"  # as another filter may have left it
    settings = {"path": str(tmp_path / "access.log")}
    async with running(AccessLog, settings, gateway=gateway) as access_log:
        with pytest.raises(AttributeError):
            access_log.report([broken, ended(make_exchange())])
    dropped = gateway.metrics.counter("gatewayd_access_log_dropped_lines", "", ("reason",))
    assert dropped.labels("failed").value == 2


async def test_lines_beyond_the_queue_are_counted_and_no_exchange_waits(tmp_path: Path) -> None:
    pipe = tmp_path / "access.log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # and never reads
    gateway = make_gateway()
    settings = {"path": str(pipe), "queue_size": 100, "close_timeout": 0}
    try:
        async with running(AccessLog, settings, gateway=gateway) as access_log:
            for _ in range(1000):
                exchange = ended(make_exchange(headers={"User-Agent": "x" * 1000}))
                access_log.report([exchange])
    finally:
        os.close(reader)
    dropped = gateway.metrics.counter("gatewayd_access_log_dropped_lines", "", ("reason",))
    # A pipe holds 64 KiB, so less than 100 lines; the thread has one page of them in hand.
    assert dropped.labels("full").value > 700


async def test_a_pipe_that_nobody_reads_is_told_and_keeps_nothing_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "access.log"
    os.mkfifo(pipe)
    gateway = make_gateway()
    async with running(AccessLog, {"path": str(pipe)}, gateway=gateway) as access_log:
        access_log.report([ended(make_exchange())])
    dropped = gateway.metrics.counter("gatewayd_access_log_dropped_lines", "", ("reason",))
    assert dropped.labels("failed").value == 1
    assert f"nobody reads {pipe}" in caplog.text


async def test_a_destination_that_cannot_be_opened_is_named_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "access.log"
    with pytest.raises(ConfigError, match="No such file") as caught:
        async with running(AccessLog, {"path": str(path)}):
            pass
    assert [issue.key for issue in caught.value.issues] == ["filters.access_log.path"]


async def test_a_gateway_with_a_destination_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.toml:\d+: filters\.access_log\.path: "):
        async with in_memory(configured(tmp_path / "missing" / "access.log")):
            pass


def writers(path: Path) -> list[int | None]:
    """Return the threads that write to a file."""
    return [one.ident for one in threading.enumerate() if one.name == f"lines to {path}"]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, True),
        ({"sample_ratio": 0.5, "format": "text"}, True),
        ({"queue_size": 5000}, False),
    ],
)
async def test_a_reload_keeps_the_destination_of_the_same_settings(
    tmp_path: Path, settings: dict[str, object], kept: bool
) -> None:
    path = tmp_path / "access.log"
    async with serving(configured(path), tmp_path) as gateway:
        before = writers(path)
        await gateway.adopt(configured(path, **settings))
        assert len(before) == 1
        assert (writers(path) == before) is kept
