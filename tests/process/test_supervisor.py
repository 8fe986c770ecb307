"""The decisions of the supervisor; what its processes do is tested in ``test_serve``."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from gatewayd.admin import api
from gatewayd.admin.api import AdminApi
from gatewayd.config.load import load
from gatewayd.errors import Reject
from gatewayd.process import supervisor as supervisor_module
from gatewayd.process.channel import pack
from gatewayd.process.child import Child, ChildFailed
from gatewayd.process.notify import Notifier
from gatewayd.process.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from gatewayd.config.load import LoadedConfig

    Children = asyncio.Queue["FakeChild | Exception"]

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
        self.killed = False
        self.serving = True
        self.answers = True
        self.incarnation = 0
        self.gone = asyncio.Event()
        self.looked_after = asyncio.Event()
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.during: Callable[[], Awaitable[Any]] | None = None
        self.silent = asyncio.Event()
        self.runs = b""
        self.pid = 1

    async def take(self, packed: bytes) -> None:
        if packed in self.refused:
            raise ChildFailed("no")
        self.runs = packed

    def terminate(self) -> None:
        self.terminated = True

    def kill(self) -> None:
        self.killed = True
        self.gone.set()

    async def fall_silent(self) -> None:
        await self.silent.wait()

    async def ended(self) -> str:
        self.looked_after.set()
        await self.gone.wait()
        return "SIGKILL" if self.killed else "exit status 0"

    async def ask(self, name: str, arguments: Mapping[str, Any], _: float) -> Any:
        self.asked.append((name, arguments))
        if self.during is not None:
            await self.during()


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
    load_again = again if callable(again) else lambda: again
    supervisor = Supervisor(loaded, load_again, [Mock()], Notifier({}))
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


@pytest.mark.parametrize(
    ("answering", "running", "alive"),
    [
        ([True, True], [True, True], True),
        ([False, True], [True, True], True),
        ([False, True], [True, False], False),
        ([False, False], [True, True], False),
    ],
)
def test_the_node_is_alive_where_a_worker_answers(
    old: LoadedConfig, answering: list[bool], running: list[bool], *, alive: bool
) -> None:
    children = [FakeChild(running=one) for one in running]
    for child, answers in zip(children, answering, strict=True):
        child.answers = answers
    assert make_supervisor(old, *children)._is_alive() is alive


class SlowChild(FakeChild):
    """A worker that takes a configuration, and whose answer comes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.taking = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def take(self, packed: bytes) -> None:
        self.runs = packed
        self.taking.set()
        await self.may_answer.wait()


async def test_a_reload_goes_on_where_nobody_waits_for_it(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    children = [FakeChild(), slow := SlowChild(), FakeChild()]
    supervisor = make_supervisor(old, *children, load=new)
    waiting = asyncio.create_task(supervisor.reload())
    await slow.taking.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    slow.may_answer.set()
    await asyncio.gather(*supervisor._reloader._tasks)
    assert [child.runs for child in children] == [pack(new)] * 3
    assert supervisor._packed == pack(new)


async def test_a_reload_that_is_broken_off_is_taken_back(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    children = [FakeChild(), slow := SlowChild()]
    supervisor = make_supervisor(old, *children, load=new)
    waiting = asyncio.create_task(supervisor.reload())
    await slow.taking.wait()
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
    await slow.taking.wait()
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


@pytest.fixture
def spawn(monkeypatch: pytest.MonkeyPatch) -> Children:
    """Give the children that are started from now on, one after the other."""
    following: Children = asyncio.Queue()

    async def give(*_: object) -> FakeChild:
        child = await following.get()
        if isinstance(child, Exception):
            raise child
        return child

    monkeypatch.setattr(Child, "spawn", give)
    for name in ("_board", "_shared"):
        monkeypatch.setattr(Supervisor, name, None, raising=False)
    monkeypatch.setattr(supervisor_module, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(supervisor_module, "_LONGEST_PAUSE", 0.0)
    return following


@asynccontextmanager
async def keeping(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
    """Look after worker 0."""
    task = asyncio.create_task(supervisor._keep(0))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def has(child: FakeChild, supervisor: Supervisor) -> None:
    """Wait until a child is the supervisor's first one."""
    async with asyncio.timeout(10):
        while supervisor._children[0] is not child:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


async def test_one_that_falls_silent_is_killed_and_replaced(
    old: LoadedConfig, spawn: Children, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = make_supervisor(old, first := FakeChild())
    spawn.put_nowait(second := FakeChild())
    async with keeping(supervisor):
        first.silent.set()
        await has(second, supervisor)
    assert first.killed
    assert "worker 0 (pid 1) has answered nothing for 30 s, killing it" in caplog.text


async def test_one_that_ends_again_and_again_is_replaced_each_time(
    old: LoadedConfig, spawn: Children, caplog: pytest.LogCaptureFixture
) -> None:
    children = [FakeChild() for _ in range(4)]
    supervisor = make_supervisor(old, children[0])
    async with keeping(supervisor):
        for child, next_one in pairwise(children):
            spawn.put_nowait(next_one)
            child.gone.set()
            await has(next_one, supervisor)
    assert "could not be looked after" not in caplog.text


async def test_what_goes_wrong_with_one_does_not_leave_it_without_successor(
    old: LoadedConfig, spawn: Children, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = make_supervisor(old, first := FakeChild())
    spawn.put_nowait(RuntimeError("unforeseen"))
    spawn.put_nowait(second := FakeChild())
    async with keeping(supervisor):
        first.gone.set()
        await has(second, supervisor)
    assert "unforeseen" in caplog.text


async def test_one_whose_start_goes_wrong_is_killed(old: LoadedConfig, spawn: Children) -> None:
    class Faulty(FakeChild):
        async def take(self, _: bytes) -> None:
            raise RuntimeError("unforeseen")

    supervisor = make_supervisor(old, first := FakeChild())
    spawn.put_nowait(faulty := Faulty())
    spawn.put_nowait(third := FakeChild())
    async with keeping(supervisor):
        first.gone.set()
        await has(third, supervisor)
    assert faulty.killed


async def test_a_new_one_is_told_what_operators_say_last(
    old: LoadedConfig, spawn: Children
) -> None:
    supervisor = make_supervisor(old, first := FakeChild())
    await supervisor.ask("log_level", {"level": "debug"}, seconds=1, lasting="log_level a")
    await supervisor.ask("drain", {"draining": True}, seconds=1, lasting="drain")
    second = FakeChild()

    async def meanwhile() -> None:
        second.during = None
        await supervisor.ask("drain", {"draining": False}, seconds=1, lasting="drain")
        await supervisor.ask("log_level", {"level": "info"}, seconds=1, lasting="log_level b")

    second.during = meanwhile
    spawn.put_nowait(second)
    async with keeping(supervisor):
        first.gone.set()
        await has(second, supervisor)
        async with supervisor._changing:
            assert second.asked[-1] == ("drain", {"draining": False})


async def test_where_the_node_stops_no_worker_follows(
    old: LoadedConfig, spawn: Children, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = make_supervisor(old, only := FakeChild())
    async with keeping(supervisor) as task:
        supervisor._stop()
        only.gone.set()
        await asyncio.wait_for(task, 10)
    assert "another one follows" not in caplog.text


async def test_a_level_of_a_logger_lasts_until_a_reload_and_the_rest_stays(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    supervisor = make_supervisor(old, FakeChild())
    await supervisor.ask("log_level", {"level": "error"}, seconds=1, lasting="log_level gatewayd")
    await supervisor.ask("drain", {"draining": True}, seconds=1, lasting="drain")
    await supervisor._hand_round(new)
    later = FakeChild()
    await supervisor._tell_lasting(0, later)  # type: ignore[arg-type]
    assert later.asked == [("drain", {"draining": True})]


async def test_where_a_reload_is_refused_levels_of_loggers_stay(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    children = [FakeChild(), FakeChild(pack(new))]
    supervisor = make_supervisor(old, *children)
    level = ("log_level", {"level": "error"})
    await supervisor.ask(*level, seconds=1, lasting="log_level gatewayd")
    with pytest.raises(ChildFailed):
        await supervisor._hand_round(new)
    assert children[0].asked == [level, level]  # what it took in between had ended it


@pytest.mark.parametrize("serving", [False, True], ids=["refused to start", "ended"])
async def test_where_no_worker_serves_a_new_one_tries_a_configuration(
    old: LoadedConfig, new: LoadedConfig, spawn: Children, *, serving: bool
) -> None:
    last = FakeChild(pack(new), running=not serving)
    last.serving = serving
    supervisor = make_supervisor(old, last)
    spawn.put_nowait(trial := FakeChild())
    await supervisor._hand_round(new)
    assert trial.runs == supervisor._packed == pack(new)
    assert supervisor._restarts.value == 1


async def test_what_the_new_one_refuses_is_refused(
    old: LoadedConfig, new: LoadedConfig, spawn: Children
) -> None:
    supervisor = make_supervisor(old, FakeChild(running=False))
    spawn.put_nowait(trial := FakeChild(pack(new)))
    with pytest.raises(ChildFailed):
        await supervisor._hand_round(new)
    assert trial.killed
    assert supervisor._packed == pack(old)


async def test_a_worker_that_a_reload_has_started_gets_no_double(
    old: LoadedConfig, new: LoadedConfig, spawn: Children
) -> None:
    supervisor = make_supervisor(old, first := FakeChild())
    first.running = False
    spawn.put_nowait(trial := FakeChild())
    async with keeping(supervisor):
        await first.looked_after.wait()
        await supervisor._hand_round(new)
        first.gone.set()
        await asyncio.wait_for(trial.looked_after.wait(), 10)
    assert supervisor._children[0] is trial  # type: ignore[comparison-overlap]


async def test_a_node_that_stops_takes_no_configuration(
    old: LoadedConfig, new: LoadedConfig
) -> None:
    supervisor = make_supervisor(old, FakeChild())
    supervisor._stop()
    with pytest.raises(ChildFailed, match="stopping"):
        await supervisor._hand_round(new)
