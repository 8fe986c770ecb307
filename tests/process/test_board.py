from __future__ import annotations

import subprocess
import sys
from typing import IO, TYPE_CHECKING

import pytest

from gatewayd.process.board import Board, make_board_file
from tests.support.held_origin import HeldOrigin, get
from tests.support.process import free_port
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = """
import sys
from gatewayd.process.board import Board
board = Board(int(sys.argv[1]))
print(board.claim(), flush=True)
board.publish("there", {"http://10.0.0.1:80": False})
print("published", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with make_board_file() as file:
        yield file


@pytest.fixture
def holder(file: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has claimed the board and written to it."""
    number = file.fileno()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(number)],
        pass_fds=[number],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert process.stdout.readline() == "published\n"
        yield process
        process.kill()


def test_what_one_process_publishes_the_others_read(
    file: IO[bytes], holder: subprocess.Popen[str]
) -> None:
    assert Board(file.fileno()).read() == {"there": {"http://10.0.0.1:80": False}}


def test_one_process_at_a_time_has_it(file: IO[bytes], holder: subprocess.Popen[str]) -> None:
    board = Board(file.fileno())
    assert not board.claim()
    holder.kill()
    holder.wait()
    assert board.claim()
    assert board.claim()


def test_an_empty_board_says_nothing(file: IO[bytes]) -> None:
    assert Board(file.fileno()).read() == {}


def test_entries_are_replaced_and_taken_away(file: IO[bytes]) -> None:
    writer, reader = Board(file.fileno()), Board(file.fileno())
    writer.publish("a", {"http://10.0.0.1:80": True})
    writer.publish("b", {"http://10.0.0.2:80": True})
    writer.publish("a", {"http://10.0.0.1:80": False})
    assert reader.read() == {"a": {"http://10.0.0.1:80": False}, "b": {"http://10.0.0.2:80": True}}
    writer.publish("a", None)
    assert reader.read() == {"b": {"http://10.0.0.2:80": True}}


def test_a_write_half_done_is_not_read(file: IO[bytes]) -> None:
    writer, reader = Board(file.fileno()), Board(file.fileno())
    writer.publish("a", {"http://10.0.0.1:80": True})
    before = reader.read()
    writer.publish("a", {"http://10.0.0.1:80": False})
    complete = writer._page[20:21]
    writer._page[20:21] = b"?"
    assert reader.read() == before
    writer._page[20:21] = complete
    assert reader.read() == {"a": {"http://10.0.0.1:80": False}}


CONFIG = """
[server]
workers = 2
[pipeline]
filters = ["route_match", "balancer", "upstream"]
[services.api]
instances = [{{ url = "{sound}" }}, {{ url = "http://127.0.0.1:{closed}" }}]
[services.api.health]
interval = 0.1
timeout = 0.5
unhealthy_after = 1
[[routes]]
name = "all"
service = "api"
"""


def test_all_workers_learn_what_one_has_found(tmp_path: Path) -> None:
    with HeldOrigin() as origin:
        sound = f"http://127.0.0.1:{origin.server_port}"
        config = CONFIG.format(sound=sound, closed=free_port())
        with GatewayProcess(config, tmp_path) as gateway:
            gateway.wait_for(lambda: gateway.log.count(" unhealthy (") == 2, "both workers know")
            assert gateway.log.count("unhealthy (found by another worker)") == 1
            assert gateway.log.count("unhealthy (ClientConnectorError") == 1
            assert {get(gateway.port).status for _ in range(20)} == {200}
