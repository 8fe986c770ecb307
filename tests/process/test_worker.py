from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from gatewayd.config.load import load
from gatewayd.config.schema import ServerConfig
from gatewayd.errors import ConfigError
from gatewayd.process.alone import serve_alone
from gatewayd.process.board import make_board_file
from gatewayd.process.channel import pack
from gatewayd.process.child import Child, ChildFailed
from gatewayd.process.notify import Notifier
from gatewayd.process.shared import make_shared_file
from gatewayd.process.sockets import ListenError, bind_listeners, url_of
from gatewayd.process.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.config.load import LoadedConfig

CONFIG = """
[pipeline]
filters = ["ops", "route_match", "balancer", "upstream"]

[[routes]]
name = "{name}"
path = "/{name}"
redirect = {{ to = "https://new.test" }}
"""
TLS = """
[server.tls]
certificates = [{ certificate = "nowhere.pem", key = "nowhere.pem" }]
"""


def make_config(folder: Path, name: str, more: str = "") -> LoadedConfig:
    file = folder / f"{name}.toml"
    file.write_text(CONFIG.format(name=name) + more)
    return load(file, environ={})


class Running:
    """A worker in the test's event loop, with a client."""

    def __init__(self, loaded: LoadedConfig, client: aiohttp.ClientSession) -> None:
        (self.listener,) = bind_listeners(ServerConfig(port=0))
        self.url = url_of(self.listener, tls=False)
        self.worker = Worker(self.listener, loaded.plugins)
        self.client = client

    async def status(self, path: str) -> int:
        async with self.client.get(self.url + path, allow_redirects=False) as response:
            return response.status


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    loaded = make_config(tmp_path, "old")
    async with aiohttp.ClientSession() as client:
        running = Running(loaded, client)
        try:
            await running.worker.start(loaded)
            yield running
        finally:
            await running.worker.close()
            running.listener.close()


async def test_a_reload_replaces_the_routes(running: Running, tmp_path: Path) -> None:
    assert (await running.status("/old"), await running.status("/new")) == (308, 404)
    await running.worker.reload(make_config(tmp_path, "new"))
    assert (await running.status("/old"), await running.status("/new")) == (404, 308)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (TLS, "certificate or key cannot be loaded"),
        ("[server]\nport = 1\n", "cannot be changed by a reload"),
    ],
    ids=["certificate", "port"],
)
async def test_a_refused_reload_changes_nothing(
    running: Running, tmp_path: Path, more: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        await running.worker.reload(make_config(tmp_path, "new", more))
    assert caught.value.issues[0].file.endswith("new.toml")
    assert (await running.status("/old"), await running.status("/new")) == (308, 404)


async def test_a_worker_that_stops_is_not_ready_and_accepts_nobody(running: Running) -> None:
    serving = asyncio.create_task(running.worker.serve())
    assert await running.status("/ready") == 200
    running.worker.stop()
    assert running.worker._generations.current.gateway.readiness.draining
    await serving
    with pytest.raises(aiohttp.ClientConnectorError):
        await running.status("/ready")


async def test_where_the_admin_address_is_taken_nobody_is_served_to_be_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Worker] = []

    async def start(worker: Worker, _: LoadedConfig) -> None:
        served.append(worker)

    monkeypatch.setattr(Worker, "start", start)
    (listener,) = bind_listeners(ServerConfig(port=0))
    with socket.create_server(("127.0.0.1", 0)) as taken, listener:
        admin = f'[admin]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n'
        loaded = make_config(tmp_path, "old", admin)
        with pytest.raises(ListenError, match="address already in use"):
            await serve_alone(loaded, lambda: loaded, listener, Notifier({}))
    assert served == []


async def test_a_system_without_room_for_processes_is_a_failure(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    failure = pytest.raises(ChildFailed, match=r"no process can be started: .*unavailable")
    with make_board_file() as board, make_shared_file(1) as shared, failure:
        await Child.spawn(running.listener, board, shared)


def test_a_hangup_does_not_end_one_that_starts(tmp_path: Path) -> None:
    """As from ``systemctl kill --signal HUP``, which all processes of a node get."""
    packed = pack(make_config(tmp_path, "one"))

    async def start() -> str:
        with make_board_file() as board, make_shared_file(1) as shared:
            child = await Child.spawn(listener, board, shared)
            os.kill(child.pid, signal.SIGHUP)
            try:
                await child.take(packed)
                return await asyncio.to_thread(Path(f"/proc/{child.pid}/status").read_text)
            finally:
                child.kill()
                await child.ended()

    (listener,) = bind_listeners(ServerConfig(port=0))
    # The supervisor's loop, which is not that of workers and tests.
    with listener, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as supervisor:
        status = supervisor.run(start())
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk:"))
    assert not int(blocked.split()[1], 16) & 1 << (signal.SIGHUP - 1)
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
