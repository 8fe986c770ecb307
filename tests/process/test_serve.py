"""``gatewayd serve`` from outside, with one process and with a supervisor."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

from gatewayd.store.settings import StoreConfig
from gatewayd.store.setup import initialize
from tests.support.held_origin import HeldOrigin, get
from tests.support.process import Process, accepts, free_port, wait_until
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., GatewayProcess]

BOTH = pytest.mark.parametrize("workers", [1, 2])
CONFIG = """
[server]
workers = {workers}

[pipeline]
filters = ["request_id", "ops", "route_match", "balancer", "upstream"]

[[routes]]
name = "all"
service = "origin"

[services.origin]
instances = [{{ url = "http://127.0.0.1:{port}" }}]
"""
REDIRECT = """
[[routes]]
name = "new"
path = "/new"
redirect = { to = "https://new.test" }
"""


def config_for(origin: HeldOrigin, workers: int) -> str:
    return CONFIG.format(workers=workers, port=origin.server_port)


def has_signal_pending(pid: int) -> bool:
    """Tell whether a signal was sent to a process that it has not been given yet."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd")))


def serve_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gatewayd", "serve", *arguments]


def run_serve(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a gateway that ends by itself; return its exit status and all that it prints."""
    done = subprocess.run(
        serve_command(*arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def origin() -> Iterator[HeldOrigin]:
    with HeldOrigin() as origin:
        yield origin


@pytest.fixture
def start(origin: HeldOrigin, tmp_path: Path) -> Iterator[Start]:
    """Start gateways that end with the test."""
    with ExitStack() as running:

        def start(workers: int) -> GatewayProcess:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            return running.enter_context(started(origin, workers, folder))

        yield start


@contextmanager
def started(origin: HeldOrigin, workers: int, folder: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(config_for(origin, workers), folder) as gateway:
        gateway.wait_for_log("listening on")  # all workers, not only one that accepts
        yield gateway


class Shared(NamedTuple):
    """A gateway that several tests use, one after the other."""

    gateway: GatewayProcess
    config: str
    workers: int


@pytest.fixture(scope="module", params=[1, 2], ids="workers={}".format)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    workers = request.param
    folder = tmp_path_factory.mktemp("shared")
    with HeldOrigin() as origin, started(origin, workers, folder) as gateway:
        yield Shared(gateway, config_for(origin, workers), workers)


def worker_of(gateway: GatewayProcess) -> str:
    """Return what is the same for all request ids of one worker."""
    return (get(gateway.port).headers["X-Request-Id"] or "")[:16]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may be in the table until it is reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def redirects(gateway: GatewayProcess, path: str) -> bool:
    return get(gateway.port, path).status == 308


class Load:
    """Requests, one after the other on kept connections, from several threads."""

    def __init__(self, gateway: GatewayProcess, clients: int = 4) -> None:
        self._gateway = gateway
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._clients = clients
        self.answered = 0
        self.failures: list[object] = []

    def __enter__(self) -> Self:
        for _ in range(self._clients):
            self._pool.submit(self._client)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._pool.shutdown()

    def wait_for_answers(self, count: int) -> None:
        """Return after so many more answers or a failure."""
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal or bool(self.failures), 20, f"{count} answers")

    def _client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._gateway.port, timeout=20)
        try:
            while not self._ending.is_set():
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.failures.append(response.status)
                self.answered += 1
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(error)
        finally:
            connection.close()


def test_the_log_names_url_pid_and_workers(shared: Shared) -> None:
    gateway, _, workers = shared
    line = f"listening on {gateway.url} (pid {gateway.pid}, workers {workers})\n"
    assert line in gateway.log


def test_all_workers_answer_on_one_port(shared: Shared) -> None:
    seen: set[str] = set()

    def all_have_answered() -> bool:
        seen.add(worker_of(shared.gateway))
        return len(seen) == shared.workers

    wait_until(all_have_answered, 20, "an answer of each worker")


def test_reloads_lose_no_request(shared: Shared) -> None:
    gateway, config, _ = shared
    with Load(gateway) as load:
        for number in range(3):
            path = f"/new{number}"
            gateway.reload(config + REDIRECT.replace("/new", path))
            wait_until(partial(redirects, gateway, path), 20, f"{path} redirects")
            load.wait_for_answers(20)
    assert load.failures == []


def test_connections_to_instances_survive_a_reload(start: Start, origin: HeldOrigin) -> None:
    gateway = start(1)
    get(gateway.port)
    gateway.reload(config_for(origin, 1) + REDIRECT)
    wait_until(partial(redirects, gateway, "/new"), 20, "the reload")
    get(gateway.port)
    assert origin.connections == 1


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("[[routes]]", '[[routes]]\nmethod = "GET"', ":9: routes[0].method: unknown key"),
        (
            '"route_match", "balancer"',
            '"balancer", "route_match"',
            ":6: pipeline.filters: filter 'balancer' requires 'service'",
        ),
        ("workers", "backlog = 7\nworkers", ":3: server.backlog: cannot be changed by a reload"),
    ],
    ids=["loading", "compiling", "restart"],
)
def test_a_bad_reload_changes_nothing_and_says_why(
    shared: Shared, good: str, bad: str, message: str
) -> None:
    gateway, config, _ = shared
    gateway.reload(config.replace(good, bad))
    gateway.wait_for_log(
        f"reload refused, the running configuration stays:\n    {gateway.config_file}{message}"
    )
    assert get(gateway.port).status == 200


@BOTH
def test_a_taken_port_is_one_line(shared: Shared, tmp_path: Path, workers: int) -> None:
    config = tmp_path / "second.toml"
    config.write_text(shared.config.replace(f"workers = {shared.workers}", f"workers = {workers}"))
    port = shared.gateway.port
    status, output = run_serve(tmp_path, "-c", str(config), "--port", str(port))
    assert status == 1
    assert output == f"cannot listen on 127.0.0.1:{port}: address already in use\n"


@BOTH
def test_sigterm_lets_exchanges_end(start: Start, origin: HeldOrigin, workers: int) -> None:
    gateway = start(workers)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(get, gateway.port, "/slow")
        origin.slow_started.wait(10)
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: not accepts(gateway.port), 10, "no new connections")
        assert not slow.done()
        origin.slow_may_end.set()
        assert slow.result(10).status == 200
    assert gateway.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_a_service_manager_sends_to_workers_as_well_breaks_nothing_off(
    start: Start, origin: HeldOrigin, number: signal.Signals
) -> None:
    gateway = start(2)
    workers = gateway.worker_pids
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(get, gateway.port, "/slow")
        origin.slow_started.wait(10)
        gateway.signal(number)
        wait_until(lambda: not accepts(gateway.port), 10, "no new connections")
        for pid in workers:
            with suppress(ProcessLookupError):  # the one without an exchange
                os.kill(pid, number)
        wait_until(lambda: not any(map(has_signal_pending, workers)), 10, "the signals")
        origin.slow_may_end.set()
        assert slow.result(10).status == 200
    assert gateway.wait() == 0


def test_exchanges_end_also_where_the_supervisor_is_killed_meanwhile(
    start: Start, origin: HeldOrigin
) -> None:
    gateway = start(2)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(get, gateway.port, "/slow")
        origin.slow_started.wait(10)
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: not accepts(gateway.port), 10, "no new connections")
        gateway.signal(signal.SIGKILL)
        assert gateway.wait() == -signal.SIGKILL
        origin.slow_may_end.set()
        assert slow.result(10).status == 200


@BOTH
def test_hangups_up_to_the_end_do_not_make_it_a_failure(start: Start, workers: int) -> None:
    gateway = start(workers)
    gateway.signal(signal.SIGTERM)

    def ended() -> bool:
        if gateway.running:
            gateway.signal(signal.SIGHUP)
        return not gateway.running

    wait_until(ended, 10, "the end")
    assert gateway.wait() == 0


@BOTH
def test_a_second_signal_breaks_exchanges_off(
    start: Start, origin: HeldOrigin, workers: int
) -> None:
    gateway = start(workers)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(get, gateway.port, "/slow")
        origin.slow_started.wait(10)
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: not accepts(gateway.port), 10, "no new connections")
        gateway.signal(signal.SIGINT)
        assert gateway.wait(10) == 0
        with pytest.raises((OSError, http.client.HTTPException)):
            slow.result(10)


def test_a_crashed_worker_is_replaced(start: Start) -> None:
    gateway = start(2)
    before = gateway.worker_pids
    os.kill(before[0], signal.SIGKILL)
    gateway.wait_for_log("runs again")
    after = gateway.worker_pids
    assert len(after) == 2
    assert before[0] not in after
    assert before[1] in after
    assert "ended (SIGKILL)" in gateway.log


def test_a_worker_that_ended_by_a_signal_without_a_name_is_replaced(start: Start) -> None:
    gateway = start(2)
    os.kill(gateway.worker_pids[0], signal.SIGRTMIN + 6)
    gateway.wait_for_log("runs again")
    assert f"ended (signal {signal.SIGRTMIN + 6})" in gateway.log


@pytest.mark.slow
def test_a_worker_that_stands_still_is_replaced(start: Start) -> None:
    gateway = start(2)
    stopped = gateway.worker_pids[0]
    os.kill(stopped, signal.SIGSTOP)
    gateway.wait_for_log("runs again", 60)
    assert stopped not in gateway.worker_pids
    assert f"(pid {stopped}) has answered nothing for 30 s, killing it" in gateway.log


def test_connections_wait_for_the_next_worker(start: Start) -> None:
    gateway = start(2)
    for pid in gateway.worker_pids:
        os.kill(pid, signal.SIGKILL)
    assert get(gateway.port).status == 200


def test_a_replaced_worker_runs_what_the_others_run(start: Start, origin: HeldOrigin) -> None:
    gateway = start(2)
    gateway.config_file.write_text("this is wrong, but nobody has asked for it")
    os.kill(gateway.worker_pids[0], signal.SIGKILL)
    gateway.wait_for_log("runs again")
    assert get(gateway.port).status == 200


def test_workers_end_with_their_supervisor(start: Start) -> None:
    gateway = start(2)
    workers = gateway.worker_pids
    gateway.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, workers)), 10, "end of the workers")


@BOTH
def test_a_reload_that_is_asked_for_too_early_comes_later(
    origin: HeldOrigin, tmp_path: Path, workers: int
) -> None:
    config = tmp_path / "gateway.toml"
    os.mkfifo(config)  # opened for writing when, and not before, it is opened for reading
    command = serve_command("-c", str(config), "--port", "0")
    with Process(command, tmp_path / "log") as gateway:
        with config.open("w") as first:
            gateway.signal(signal.SIGHUP)
            first.write(config_for(origin, workers))
        gateway.wait_for_log("listening on")  # it has been read
        with config.open("w") as second:
            second.write(config_for(origin, workers))
        gateway.wait_for_log("reloaded")


@BOTH
def test_what_the_store_gives_is_kept_from_the_start_on(
    origin: HeldOrigin, tmp_path: Path, workers: int
) -> None:
    asyncio.run(initialize(StoreConfig(url=f"sqlite:///{tmp_path}/gatewayd.db")))
    snapshot = tmp_path / "snapshot.json"
    head = (
        f'config.sources = ["file", "store"]\nconfig.snapshot = "{snapshot}"\n'
        f'store.url = "sqlite:///{tmp_path}/gatewayd.db"\n'
    )
    with GatewayProcess(head + config_for(origin, workers), tmp_path) as gateway:
        gateway.wait_for_log("listening on")
        assert snapshot.read_text() == '{"routes": [], "services": {}}'


@BOTH
def test_a_bad_configuration_does_not_start(
    origin: HeldOrigin, tmp_path: Path, workers: int
) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(config_for(origin, workers).replace('"balancer", ', ""))
    status, output = run_serve(tmp_path, "-c", str(config), "--port", str(free_port()))
    assert status == 1
    (line,) = output.splitlines()
    assert line.startswith(f"{config}:8: routes[0]: filter 'upstream' requires 'instance'")


def test_port_0_is_one_port_for_all_workers(origin: HeldOrigin, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(config_for(origin, 2))
    with Process(serve_command("-c", str(config), "--port", "0"), tmp_path / "log") as gateway:
        gateway.wait_for_log("listening on http://127.0.0.1:")
        port = int(gateway.log.partition("http://127.0.0.1:")[2].split()[0])
        assert accepts(port)
