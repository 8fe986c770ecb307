"""The decisions of the supervisor; what its processes do is tested in ``test_serve``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gatewayd.admin import api
from gatewayd.admin.api import AdminApi
from gatewayd.config.load import load
from gatewayd.errors import Reject
from gatewayd.process.channel import pack
from gatewayd.process.child import ChildFailed
from gatewayd.process.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.config.load import LoadedConfig

CONFIG = """
[server]
drain_timeout = {drain}

[[routes]]
name = "all"
service = "origin"

[services.origin]
instances = [{{ url = "http://127.0.0.1:9101" }}]
"""


class FakeChild:
    """A worker that refuses what it is told to refuse."""

    def __init__(self, *refused: bytes, running: bool = True) -> None:
        self.refused = refused
        self.running = running
        self.terminated = False
        self.told_to_end = False
        self.runs = b""
        self.pid = 1

    async def take(self, packed: bytes) -> None:
        if packed in self.refused:
            raise ChildFailed("no")
        self.runs = packed

    def terminate(self) -> None:
        self.terminated = True


@pytest.fixture
def old(tmp_path: Path) -> LoadedConfig:
    return make_config(tmp_path, 10)


@pytest.fixture
def new(tmp_path: Path) -> LoadedConfig:
    return make_config(tmp_path, 20)


def make_config(folder: Path, drain: int) -> LoadedConfig:
    file = folder / f"{drain}.toml"
    file.write_text(CONFIG.format(drain=drain))
    return load(file, environ={})


def make_supervisor(
    loaded: LoadedConfig,
    *children: FakeChild,
    load: LoadedConfig | Callable[[], LoadedConfig] | None = None,
) -> Supervisor:
    again = load or loaded
    supervisor = Supervisor(loaded, again if callable(again) else lambda: again, [])
    for child in children:
        child.runs = pack(loaded)
    supervisor._children = dict(enumerate(children))  # type: ignore[arg-type]
    return supervisor


async def test_all_workers_take_a_configuration(old: LoadedConfig, new: LoadedConfig) -> None:
    children = [FakeChild(), FakeChild()]
    await make_supervisor(old, *children)._hand_round(new)
    assert [child.runs for child in children] == [pack(new)] * 2


async def test_where_one_refuses_the_others_go_back(old: LoadedConfig, new: LoadedConfig) -> None:
    children = [FakeChild(), FakeChild(pack(new)), FakeChild()]
    supervisor = make_supervisor(old, *children)
    with pytest.raises(ChildFailed):
        await supervisor._hand_round(new)
    assert [child.runs for child in children] == [pack(old)] * 3
    assert supervisor._packed == pack(old)
    assert not any(child.terminated for child in children)


async def test_one_that_cannot_go_back_is_replaced(
    old: LoadedConfig, new: LoadedConfig, caplog: pytest.LogCaptureFixture
) -> None:
    children = [FakeChild(pack(old)), FakeChild(pack(new))]
    with pytest.raises(ChildFailed):
        await make_supervisor(old, *children)._hand_round(new)
    assert [child.terminated for child in children] == [True, False]
    assert "a worker is replaced" in caplog.text


async def test_a_worker_that_is_being_replaced_gets_the_new_configuration_at_its_start(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    gone = FakeChild(pack(new), running=False)
    supervisor = make_supervisor(old, gone, FakeChild())
    await supervisor._hand_round(new)
    assert supervisor._packed == pack(new)


class SlowChild(FakeChild):
    """A worker that takes a configuration, and whose answer comes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def take(self, packed: bytes) -> None:
        self.runs = packed
        self.asked.set()
        await self.may_answer.wait()


async def test_a_reload_goes_on_where_nobody_waits_for_it(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    children = [FakeChild(), slow := SlowChild(), FakeChild()]
    supervisor = make_supervisor(old, *children, load=new)
    waiting = asyncio.create_task(supervisor.reload())
    await slow.asked.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    slow.may_answer.set()
    await supervisor.reload()  # after the other one
    assert [child.runs for child in children] == [pack(new)] * 3
    assert supervisor._packed == pack(new)


async def test_a_reload_that_is_broken_off_is_taken_back(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    children = [FakeChild(), slow := SlowChild()]
    supervisor = make_supervisor(old, *children, load=new)
    waiting = asyncio.create_task(supervisor.reload())
    await slow.asked.wait()
    slow.may_answer.set()
    await supervisor._reloader.close()
    await asyncio.wait([waiting])
    assert [child.runs for child in children] == [pack(old)] * 2
    assert supervisor._packed == pack(old)


async def test_reloads_that_are_asked_for_during_another_one_are_one(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    loads: list[LoadedConfig] = []

    def load_it() -> LoadedConfig:
        loads.append(new)
        return new

    slow = SlowChild()
    supervisor = make_supervisor(old, slow, load=load_it)
    first = asyncio.create_task(supervisor.reload())
    await slow.asked.wait()
    later = [asyncio.create_task(supervisor.reload()) for _ in range(100)]
    await asyncio.sleep(0)
    assert len(supervisor._reloader._tasks) == 2
    slow.may_answer.set()
    await asyncio.gather(first, *later)
    assert len(loads) == 2


async def test_who_waits_too_long_for_a_reload_is_told_that_it_goes_on(
    old: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "RELOAD_SECONDS", 0.01)
    slow = SlowChild()
    supervisor = make_supervisor(old, slow)
    with pytest.raises(Reject, match="still under way") as caught:
        await api.reload(AdminApi(supervisor), None, {})
    assert caught.value.code == "reload_under_way"
    slow.may_answer.set()
    await supervisor.reload()
