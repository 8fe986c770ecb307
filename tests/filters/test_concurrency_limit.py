"""The concurrency limit: of one process, and of workers that share a table."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import LockStuck, Principal, Reject, Response, SharedTable
from gatewayd.process.shared import make_shared_file
from gatewayd.testing import Recorder, contract, make_exchange, make_gateway, running
from gatewayd_filters.concurrency_limit import ConcurrencyLimit
from gatewayd_filters.concurrency_limit.counts import SharedCounts
from tests.support.routing import make_route
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from gatewayd import Exchange, Gateway

ENTERING = """
import sys
from gatewayd import SharedTable
from gatewayd_filters.concurrency_limit.counts import SharedCounts
counts = SharedCounts(SharedTable(int(sys.argv[1])))
for line in sys.stdin:
    if line == "leave\\n":
        print(counts.leave("key"), flush=True)
    else:
        print(counts.enter("key", int(line)), flush=True)
"""


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with make_shared_file(3) as file:
        yield file


@pytest.fixture(params=["one worker", "several workers"])
def gateway(request: pytest.FixtureRequest, file: IO[bytes]) -> Gateway:
    if request.param == "one worker":
        return make_gateway()
    return sharing(file)


def sharing(file: IO[bytes]) -> Gateway:
    return make_gateway(shared=SharedTable(file.fileno()))


async def enter(
    one: ConcurrencyLimit, principal: str | None = None, **values: Any
) -> Exchange | Reject:
    """Send a request; return its exchange, which is under way, or what refused it."""
    if principal:
        values["principal"] = Principal(principal, "jwt")
    exchange = make_exchange(values=values)
    try:
        await one(exchange, Recorder())
    except Reject as reject:
        return reject
    return exchange


def end(exchange: Exchange | Reject, error: BaseException | None = None) -> None:
    assert not isinstance(exchange, Reject)
    assert exchange.finish(error) == []


@pytest.mark.parametrize("settings", [{}, {"limit": 100}])
async def test_contract(settings: dict[str, Any]) -> None:
    await contract(ConcurrencyLimit, settings)


async def test_without_a_limit_nobody_is_refused(gateway: Gateway) -> None:
    async with running(ConcurrencyLimit, gateway=gateway) as one:
        for _ in range(100):
            end(await enter(one))


async def test_an_exchange_counts_until_it_has_ended(gateway: Gateway) -> None:
    async with running(ConcurrencyLimit, {"limit": 2}, gateway=gateway) as one:
        first, second = await enter(one), await enter(one)
        refusal = await enter(one)
        assert isinstance(refusal, Reject)
        assert (refusal.status, refusal.code) == (429, "concurrency_limited")
        assert refusal.headers == [("Retry-After", "1")]
        end(first)
        third = await enter(one)
        end(third, ConnectionResetError())
        end(second)
        end(await enter(one))


async def test_an_exchange_that_is_cancelled_counts_until_its_end(gateway: Gateway) -> None:
    entered = asyncio.Event()

    async def forward(_: Exchange) -> Response:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with running(ConcurrencyLimit, {"limit": 1}, gateway=gateway) as one:
        exchange = make_exchange()
        task = asyncio.ensure_future(one(exchange, forward))
        await entered.wait()
        assert isinstance(await enter(one), Reject)
        task.cancel()
        await asyncio.wait([task])
        end(exchange, asyncio.CancelledError())
        end(await enter(one))


async def test_callers_are_counted_apart(gateway: Gateway) -> None:
    async with running(ConcurrencyLimit, {"limit": 1}, gateway=gateway) as one:
        exchanges = [await enter(one, name) for name in ("alice", "bob")]
        assert isinstance(await enter(one, "alice"), Reject)
        for exchange in exchanges:
            end(exchange)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"scope": "route"}, False),
        ({"scope": "route", "name": "both"}, True),
        ({"scope": "gateway"}, True),
    ],
)
async def test_routes_are_counted_together_that_share_a_name_or_a_scope(
    gateway: Gateway, settings: dict[str, Any], refused: bool
) -> None:
    settings = {"limit": 1, **settings}
    async with (
        running(ConcurrencyLimit, settings, gateway=gateway) as one,
        running(ConcurrencyLimit, settings, gateway=gateway) as other,
    ):
        first = await enter(one, "alice", route=make_route("/a"))
        second = await enter(other, "alice", route=make_route("/b"))
    assert isinstance(second, Reject) is refused
    for exchange in (first, second):
        if not isinstance(exchange, Reject):
            end(exchange)


async def test_shadow_mode_counts_and_lets_pass(gateway: Gateway) -> None:
    async with running(ConcurrencyLimit, {"limit": 1, "shadow": True}, gateway=gateway) as one:
        for exchange in [await enter(one) for _ in range(3)]:
            end(exchange)
        family = gateway.metrics.counter(
            "gatewayd_concurrency_limit_refused", "", ("limit", "mode")
        )
        assert family.labels("gateway", "shadow").value == 2


async def test_a_limit_that_protects_a_service_may_answer_503(gateway: Gateway) -> None:
    async with running(ConcurrencyLimit, {"limit": 1, "status": 503}, gateway=gateway) as one:
        first = await enter(one)
        refusal = await enter(one)
        end(first)
    assert isinstance(refusal, Reject)
    assert refusal.status == 503


async def test_nothing_is_kept_of_who_has_nothing_under_way() -> None:
    gateway = make_gateway()
    async with running(ConcurrencyLimit, {"limit": 5}, gateway=gateway) as one:
        for number in range(50):
            end(await enter(one, f"caller {number}"))
        assert len(gateway.keep(("concurrency_limit", "local"), list)) == 0


async def test_with_a_stuck_lock_each_worker_has_its_part(
    file: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(*_: object) -> bool:
        raise LockStuck("held")

    async with running(ConcurrencyLimit, {"limit": 7}, gateway=sharing(file)) as one:
        monkeypatch.setattr(SharedCounts, "enter", stuck)
        exchanges = [await enter(one) for _ in range(3)]
        assert [isinstance(exchange, Reject) for exchange in exchanges] == [False, False, True]
        for exchange in exchanges[:2]:
            end(exchange)


class Other:
    """Another worker, which enters and leaves when told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, text: object) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(text, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()


@contextmanager
def other(file: IO[bytes]) -> Iterator[Other]:
    process = subprocess.Popen(
        [sys.executable, "-c", ENTERING, str(file.fileno())],
        pass_fds=[file.fileno()],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Other(process)
    finally:
        process.kill()
        process.communicate()


def test_workers_count_together(file: IO[bytes]) -> None:
    counts = SharedCounts(SharedTable(file.fileno()))
    with other(file) as one, other(file) as two:
        assert counts.enter("key", 3)
        assert one.tell(3) == "True"
        assert two.tell(3) == "True"
        assert not counts.enter("key", 3)
        assert one.tell(3) == "False"
        two.tell("leave")
        assert one.tell(3) == "True"
        assert not counts.enter("key", 3)
        counts.leave("key")
        assert two.tell(3) == "True"


def test_what_a_killed_worker_had_under_way_counts_no_more(file: IO[bytes]) -> None:
    counts = SharedCounts(SharedTable(file.fileno()))
    with other(file) as one:
        assert one.tell(2) == "True"
        assert counts.enter("key", 2)
        assert not counts.enter("key", 2)
        one.process.kill()
        one.process.wait()
        assert counts.enter("key", 2)
        assert not counts.enter("key", 2)
    with other(file) as one:  # gets the number of the one that was killed
        counts.leave("key")
        assert one.tell(2) == "True"
        assert one.tell(2) == "False"


def test_a_leave_that_cannot_be_told_is_told_later(
    file: IO[bytes],
) -> None:
    table = SharedTable(file.fileno())
    counts = SharedCounts(table)
    assert counts.enter("key", 1)
    place = table.place("in flight|key")
    place.mutex.acquire()
    counts.leave("key")
    place.mutex.release()
    assert counts.enter("key", 1)
