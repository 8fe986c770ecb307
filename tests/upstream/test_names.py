from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import ConnectFailure, ConnectTimeout
from gatewayd.upstream import names as module
from gatewayd.upstream.names import MOST_THREADS, Names
from tests.support.raw import until
from tests.support.upstream import make_attempt, make_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gatewayd.timers import Sweeper
    from tests.support.raw import RawOrigin

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class System:
    """Stands for the system's resolver.

    Attributes:
        addresses: What it knows, by name.
        asked: The names that it was asked for.

    """

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self._silent = threading.Event()

    def look_up(self, name: str, port: None, *, type: int) -> list[Any]:  # noqa: A002  # socket's
        assert (port, type) == (None, socket.SOCK_STREAM)
        self.asked.append(name)
        if name.startswith("hangs"):
            self._silent.wait(20)
        if name not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, type, 6, "", (one, 0)) for one in self.addresses[name]]

    @contextmanager
    def answering(self) -> Iterator[System]:
        """Let what hangs end with the block."""
        try:
            yield self
        finally:
            self._silent.set()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    with System().answering() as system:
        monkeypatch.setattr(module.socket, "getaddrinfo", system.look_up)
        yield system


@pytest.fixture
async def names(system: System) -> AsyncIterator[Names]:
    names = Names()
    yield names
    names.close()


def asking(names: Names, name: str) -> asyncio.Task[Any]:
    return asyncio.create_task(names.addresses(name))  # type: ignore[arg-type]  # a coroutine


async def test_the_addresses_of_a_name_each_once(names: Names, system: System) -> None:
    system.addresses["a.test"] = ["192.0.2.2", "192.0.2.1", "192.0.2.2"]
    assert await names.addresses("a.test") == ["192.0.2.2", "192.0.2.1"]


async def test_the_hosts_file_counts() -> None:
    names = Names()
    assert {"127.0.0.1", "::1"} >= set(await names.addresses("localhost"))
    names.close()


async def test_a_link_local_address_says_of_which_link(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 0, 7))]
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_, **__: found)
    assert await names.addresses("a.test") == ["fe80::1%7"]


async def test_who_asks_while_the_name_is_asked_for_waits_for_the_same_answer(
    names: Names, system: System
) -> None:
    system.addresses["a.test"] = ["192.0.2.1"]
    answers = await asyncio.gather(*(names.addresses("a.test") for _ in range(50)))
    assert answers == [["192.0.2.1"]] * 50
    assert system.asked == ["a.test"]


async def test_an_answer_is_not_kept(names: Names, system: System) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        system.addresses["a.test"] = [address]
        assert await names.addresses("a.test") == [address]


async def test_what_is_wrong_with_a_name_is_told_all_who_ask(names: Names, system: System) -> None:
    outcomes = await asyncio.gather(
        *(names.addresses("none.test") for _ in range(3)), return_exceptions=True
    )
    assert [type(one) for one in outcomes] == [socket.gaierror] * 3
    assert system.asked == ["none.test"]


async def test_what_no_name_can_be_is_not_asked_for() -> None:
    names = Names()
    with pytest.raises(UnicodeError):
        await names.addresses("a..test")
    names.close()


async def test_a_name_that_hangs_holds_up_no_other(names: Names, system: System) -> None:
    system.addresses["a.test"] = ["192.0.2.1"]
    hanging = [asking(names, "hangs.test") for _ in range(100)]
    await until(lambda: system.asked == ["hangs.test"])
    assert await names.addresses("a.test") == ["192.0.2.1"]
    for one in hanging:
        one.cancel()
    await asyncio.wait(hanging)
    again = asking(names, "hangs.test")
    assert await names.addresses("a.test") == ["192.0.2.1"]
    assert system.asked == ["hangs.test", "a.test", "a.test"]
    names.close()
    with pytest.raises(OSError, match="not asked for any more"):
        await again


async def test_threads_are_bounded_and_who_has_given_up_needs_none(
    names: Names, system: System
) -> None:
    system.addresses["a.test"] = ["192.0.2.1"]
    hanging = [asking(names, f"hangs{number}.test") for number in range(MOST_THREADS)]
    await until(lambda: len(system.asked) == MOST_THREADS)
    given_up, patient = asking(names, "b.test"), asking(names, "a.test")
    await asyncio.sleep(0)
    assert repr(names) == f"<names: {MOST_THREADS} asked for, 2 waiting>"
    given_up.cancel()
    await asyncio.wait([given_up])
    with system.answering():
        pass
    assert await patient == ["192.0.2.1"]
    assert system.asked[MOST_THREADS:] == ["a.test"]
    await asyncio.wait(hanging)
    assert all(isinstance(one.exception(), socket.gaierror) for one in hanging)


async def test_without_threads_names_are_not_found(
    names: Names, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            await names.addresses("a.test")
    system.addresses["a.test"] = ["192.0.2.1"]
    assert await names.addresses("a.test") == ["192.0.2.1"]


async def test_after_the_end_nobody_is_asked(names: Names, system: System) -> None:
    names.close()
    with pytest.raises(OSError, match="not asked for any more"):
        await names.addresses("a.test")
    assert system.asked == []


def test_a_name_that_hangs_does_not_keep_the_loop_from_ending(system: System) -> None:
    async def ask() -> None:
        names = Names()
        waiting = asking(names, "hangs.test")
        await until(lambda: system.asked)
        names.close()
        with pytest.raises(OSError, match="not asked for any more"):
            await waiting

    asyncio.run(ask())
    (thread,) = [one for one in threading.enumerate() if one.name == "gatewayd-names"]
    assert thread.daemon
    with system.answering():
        pass
    thread.join(20)
    assert not thread.is_alive()


# --- connecting by name --------------------------------------------------------------------------


async def test_all_addresses_of_a_name_are_tried(
    system: System, sweeper: Sweeper, origin: RawOrigin
) -> None:
    system.addresses["origin.test"] = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    pool = make_pool(sweeper, f"http://origin.test:{origin.port}")
    response = asyncio.create_task(pool.send(make_attempt()))
    wire = await origin.accept()
    await wire.read_head()
    wire.send(OK)
    assert (await response).body == b"ok"
    pool.close()


async def test_a_name_without_an_address_that_answers(system: System, sweeper: Sweeper) -> None:
    system.addresses["origin.test"] = ["127.0.0.2", "127.0.0.3"]
    pool = make_pool(sweeper, "http://origin.test:1")
    with pytest.raises(ConnectFailure, match=r"127\.0\.0\.2: .*127\.0\.0\.3: "):
        await pool.send(make_attempt())
    assert (pool._open, len(sweeper)) == (0, 0)


async def test_a_name_that_hangs_has_the_time_for_connecting(
    system: System, sweeper: Sweeper
) -> None:
    pool = make_pool(sweeper, "http://hangs.test:1", connect_timeout=0.01)
    outcomes = await asyncio.gather(
        *(pool.send(make_attempt()) for _ in range(8)), return_exceptions=True
    )
    assert [type(one) for one in outcomes] == [ConnectTimeout] * 8
    assert system.asked == ["hangs.test"]
    assert (pool._open, len(sweeper)) == (0, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_nobody_is_asked_for_an_address(system: System, sweeper: Sweeper, host: str) -> None:
    pool = make_pool(sweeper, f"http://{host}:1")
    with pytest.raises(ConnectFailure):
        await pool.send(make_attempt())
    assert system.asked == []
