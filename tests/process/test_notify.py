"""What a service manager hears of ``gatewayd serve``, over a real socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from gatewayd.process.notify import Notifier
from tests.support.process import children_of
from tests.support.servers import GatewayProcess, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("workers", [1, 2])
CONFIG = """
[server]
workers = {workers}

[[routes]]
name = "all"
redirect = {{ to = "https://new.test" }}
"""


class Manager:
    """The socket of a service manager.

    Args:
        name: As ``NOTIFY_SOCKET`` has it.

    Attributes:
        heard: The messages, each as its assignments.

    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def next(self, name: str, seconds: float = 60.0) -> dict[str, str]:
        """Return the next message that has this assignment; those before it are heard as well."""
        self._socket.settimeout(seconds)
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            message = dict(line.split("=", 1) for line in lines)
            self.heard.append(message)
            if name in message:
                return message

    def hear_the_rest(self) -> list[str]:
        """Return what else has come, by the first name of each message."""
        self._socket.setblocking(False)
        names = []
        while True:
            try:
                names.append(self._socket.recv(4096).decode().partition("=")[0])
            except BlockingIOError:
                return names


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@gatewayd-{os.getpid()}"
    with Manager(name) as manager:
        yield manager


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Manager]:
    with Manager(str(tmp_path / "notify")) as manager:
        yield manager


@contextmanager
def serving(
    manager: Manager, folder: Path, workers: int, **environment: str
) -> Iterator[GatewayProcess]:
    environment["NOTIFY_SOCKET"] = manager.name
    config = CONFIG.format(workers=workers)
    with GatewayProcess(config, folder, environment=environment) as gateway:
        yield gateway


@BOTH
def test_it_is_ready_when_it_serves(manager: Manager, tmp_path: Path, workers: int) -> None:
    with serving(manager, tmp_path, workers) as gateway:
        ready = manager.next("READY")
        gateway.wait_for_log(f"(pid {gateway.pid}, workers {workers})")  # a thread writes the log
        assert ready["STATUS"].startswith(f"listening on {gateway.url}, configuration ")
        assert manager.heard[0] == {"EXTEND_TIMEOUT_USEC": "90000000"}


@BOTH
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ('[[routes]]\nname = "more"\npath = "/more"\nservice = "gone"', "reload refused, "),
        ("[logging]\nlevel = 'debug'", "reloaded, configuration "),
    ],
    ids=["refused", "taken"],
)
def test_a_reload_begins_and_ends(
    listening: Manager, tmp_path: Path, workers: int, more: str, status: str
) -> None:
    with serving(listening, tmp_path, workers) as gateway:
        listening.next("READY")
        before = time.monotonic_ns() // 1000
        gateway.reload(CONFIG.format(workers=workers) + more)
        reloading = listening.next("RELOADING")
        assert before < int(reloading["MONOTONIC_USEC"]) < time.monotonic_ns() // 1000
        assert listening.next("READY")["STATUS"].startswith(status)


@BOTH
def test_the_stop_is_told_first_and_nothing_follows(
    listening: Manager, tmp_path: Path, workers: int
) -> None:
    with serving(listening, tmp_path, workers) as gateway:
        listening.next("READY")
        gateway.signal(signal.SIGTERM)
        assert listening.next("STOPPING")["STOPPING"] == "1"
        assert gateway.wait() == 0
        assert listening.hear_the_rest() == []


@BOTH
def test_signs_of_life_follow_one_another(listening: Manager, tmp_path: Path, workers: int) -> None:
    with serving(listening, tmp_path, workers, WATCHDOG_USEC="200000"):
        listening.next("READY")
        for _ in range(3):
            assert listening.next("WATCHDOG") == {"WATCHDOG": "1"}
        before_ready = listening.heard[: [*map(list, listening.heard)].index(["READY", "STATUS"])]
        assert [list(message) for message in before_ready] == [["EXTEND_TIMEOUT_USEC"]]


async def test_there_is_no_sign_of_life_where_nothing_is_alive(listening: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": listening.name, "WATCHDOG_USEC": "20000"})
    looks = iter([False, True, False, False])
    over = asyncio.Event()

    def is_alive() -> bool:
        look = next(looks, None)
        if look is None:
            over.set()
        return bool(look)

    notifier.watch(is_alive)
    await asyncio.wait_for(over.wait(), 20)
    notifier.close()
    assert listening.hear_the_rest() == ["WATCHDOG"]


@BOTH
def test_nobody_else_gets_the_socket(listening: Manager, tmp_path: Path, workers: int) -> None:
    with serving(listening, tmp_path, workers) as gateway:
        listening.next("READY")
        children = children_of(gateway.pid)
        assert len(children) == (workers if workers > 1 else 0)
        for pid in children:
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()


@BOTH
def test_a_manager_that_is_gone_is_one_line(
    listening: Manager, tmp_path: Path, workers: int
) -> None:
    with serving(listening, tmp_path, workers, WATCHDOG_USEC="20000") as gateway:
        listening.next("READY")
        listening.__exit__()
        gateway.wait_for_log("the service manager cannot be told")
        gateway.reload(CONFIG.format(workers=workers))
        gateway.wait_for_log("reloaded")
        assert gateway.log.count("the service manager cannot be told") == 1
        assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "0"}, 0.0),
    ],
)
def test_for_whom_the_watchdog_is(environment: dict[str, str], seconds: float) -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "HOME": "/", **environment}
    assert Notifier(environ).watchdog_seconds == seconds
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize("name", ["vsock:2:1234", "/nowhere/notify", "@nobody", "/" + "x" * 200])
def test_a_socket_that_cannot_be_used_is_one_line(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.starting()
    notifier.ready("ready")
    (record,) = caplog.records
    assert record.getMessage().startswith("the service manager cannot be told EXTEND_TIMEOUT_USEC")


def test_a_manager_that_does_not_listen_holds_nobody_up(
    listening: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": listening.name})
    wait_until(lambda: notifier.starting() or bool(caplog.records), 30, "a full queue")
    assert "timed out" in caplog.text
    listening.next("EXTEND_TIMEOUT_USEC")
    notifier.ready("again")
    assert listening.next("READY")["STATUS"] == "again"
