"""Token buckets in a real Redis: exact, together, and never taken from twice."""

from __future__ import annotations

import asyncio
import gc
import math
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import Metrics, Redis
from gatewayd.redis.settings import RedisConfig
from gatewayd_filters.token_bucket.backend import BackendUnavailable, Charge, Limit, Verdict
from gatewayd_filters.token_bucket.limits import parse_limit
from gatewayd_filters.token_bucket.meter import Meter
from gatewayd_filters.token_bucket.redis_backend import RedisBackend
from tests.filters.token_bucket.model import new_key
from tests.support.redis_server import RedisCluster, RedisServer
from tests.support.servers import REPOSITORY
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SLOW = Limit(1 / 86_400, 10.0, 86_400.0)
"""Ten tokens a day: no token comes back while a test runs."""


@asynccontextmanager
async def backend(
    url: str, *, meter: Meter | None = None, **settings: Any
) -> AsyncIterator[RedisBackend]:
    redis = Redis(
        RedisConfig.model_validate({"url": url, "timeout": 5.0, "probe_interval": 0.02, **settings})
    )
    made = RedisBackend(redis, prefix="t:", meter=meter or Meter(Metrics()))
    await made.start()
    try:
        yield made
    finally:
        await made.close()
        await redis.close()


def charge(limit: Limit = SLOW, cost: float = 1.0, key: str | None = None) -> Charge:
    return Charge(key or new_key(), limit, cost)


async def ask(buckets: RedisBackend, *charges: Charge, times: int = 1) -> list[Verdict]:
    """Ask several times within one turn of the loop."""
    return list(await asyncio.gather(*(buckets.take(charges) for _ in range(times))))


async def test_a_burst_and_no_more(redis_server: RedisServer) -> None:
    async with backend(redis_server.url) as buckets:
        verdicts = await ask(buckets, charge(), times=15)
    assert [verdict.allowed for verdict in verdicts] == [True] * 10 + [False] * 5
    assert [round(verdict.remaining[0]) for verdict in verdicts[:10]] == list(range(9, -1, -1))


async def test_a_refusal_tells_how_long_to_wait(redis_server: RedisServer) -> None:
    one = charge(Limit(2.0, 10.0, 1.0))
    async with backend(redis_server.url) as buckets:
        *_, last = await ask(buckets, one, times=11)
    assert not last.allowed
    assert 0.4 < last.retry_after <= 0.5


async def test_what_costs_more_than_the_burst_is_never_allowed(redis_server: RedisServer) -> None:
    async with backend(redis_server.url) as buckets:
        (verdict,) = await ask(buckets, charge(cost=11.0))
    assert (verdict.allowed, verdict.retry_after) == (False, math.inf)


async def test_all_buckets_or_none(redis_server: RedisServer) -> None:
    caller = new_key()
    wide = Charge(f"wide|{caller}", SLOW, 1.0)
    narrow = Charge(f"narrow|{caller}", Limit(1 / 86_400, 3.0, 86_400.0), 1.0)
    async with backend(redis_server.url) as buckets:
        verdicts = await ask(buckets, wide, narrow, times=5)
        (after,) = await ask(buckets, wide)
    assert [verdict.allowed for verdict in verdicts] == [True] * 3 + [False] * 2
    assert verdicts[-1].limiting == 1
    assert round(after.remaining[0]) == 6  # three were taken with the others, one now


async def test_tokens_come_back_at_the_rate(redis_server: RedisServer) -> None:
    one = charge(Limit(1000.0, 10.0, 1.0))
    async with backend(redis_server.url) as buckets:
        granted, started = 0, time.monotonic()
        while granted < 210:
            granted += sum(verdict.allowed for verdict in await ask(buckets, one, times=20))
        elapsed = time.monotonic() - started
    assert granted <= 1000 * elapsed + 10 + 20


async def test_what_is_asked_in_one_turn_is_one_call(redis_server: RedisServer) -> None:
    async with backend(redis_server.url) as buckets:
        await ask(buckets, charge())  # loads the script
        redis_server.cli("config", "resetstat")
        await asyncio.gather(*(buckets.take([charge()]) for _ in range(64)))
        stats = redis_server.cli("info", "commandstats")
    found = re.search(r"cmdstat_evalsha:calls=(\d+)", stats)
    assert found is not None
    assert found[1] == "1"


async def test_a_server_that_forgot_the_script_is_given_it_again(
    redis_server: RedisServer,
) -> None:
    one = charge()
    async with backend(redis_server.url) as buckets:
        await ask(buckets, one)
        redis_server.cli("script", "flush")
        (verdict,) = await ask(buckets, one)
    assert round(verdict.remaining[0]) == 8


async def test_a_full_bucket_takes_no_memory(redis_server: RedisServer) -> None:
    one = charge(Limit(1000.0, 1.0, 1.0))
    async with backend(redis_server.url) as buckets:
        await ask(buckets, one)
        key = buckets._name(one.key)
        assert 0 < int(redis_server.cli("pttl", key)) <= 1001


async def test_the_meter_sees_what_all_nodes_were_granted(redis_server: RedisServer) -> None:
    metrics = Metrics()
    one = Charge(f"metered|{new_key()}", SLOW, 1.0)
    meter = Meter(metrics, window=0.2)
    async with backend(redis_server.url) as other, backend(redis_server.url, meter=meter) as own:
        await ask(other, one, times=4)
        ratios = metrics.histogram("gatewayd_rate_limit_window_ratio", "", ("limit",))
        cell = ratios.labels("metered")
        async with asyncio.timeout(10):
            while not sum(cell.counts):
                await ask(own, one)
    # Four by the other node and what this one was granted meanwhile, of a burst of ten.
    assert 0.5 <= cell.sum <= 1.0


async def test_a_smaller_burst_holds_at_once(redis_server: RedisServer) -> None:
    key = new_key()
    async with backend(redis_server.url) as buckets:
        await ask(buckets, charge(key=key))
        smaller = charge(Limit(1 / 86_400, 2.0, 86_400.0), key=key)
        verdicts = await ask(buckets, smaller, times=3)
    assert [verdict.allowed for verdict in verdicts] == [True, True, False]


async def test_a_caller_that_gives_up_does_not_harm_the_others(redis_server: RedisServer) -> None:
    one = charge()
    async with backend(redis_server.url) as buckets:
        questions = [asyncio.ensure_future(buckets.take([one])) for _ in range(10)]
        for question in questions[::2]:
            question.cancel()
        results = await asyncio.gather(*questions[1::2])
    assert all(verdict.allowed for verdict in results)


@pytest.mark.parametrize("caller", ["{a}", "a}b{c", "%7B", "", "ä 李", "a|b|c"])
async def test_callers_with_odd_names_have_buckets_of_their_own(
    redis_server: RedisServer, caller: str
) -> None:
    one = Charge(f"odd|{caller}", SLOW, 1.0)
    async with backend(redis_server.url) as buckets:
        before = await ask(buckets, one)
        after = await ask(buckets, Charge(f"odd|{caller}x", SLOW, 1.0))
    assert (round(before[0].remaining[0]), round(after[0].remaining[0])) == (9, 9)


async def test_a_cluster_gets_one_call_for_each_slot(redis_cluster: RedisCluster) -> None:
    callers = [new_key() for _ in range(20)]
    async with backend(redis_cluster.url, cluster=True) as buckets:
        verdicts = await asyncio.gather(
            *(
                buckets.take([Charge(f"wide|{one}", SLOW, 1.0), Charge(f"narrow|{one}", SLOW, 2.0)])
                for one in callers
            )
        )
    assert all(tuple(map(round, verdict.remaining)) == (9, 8) for verdict in verdicts)


async def test_without_redis_nothing_waits() -> None:
    async with backend("redis://127.0.0.1:1/0") as buckets:
        with pytest.raises(BackendUnavailable):
            buckets.take([charge()])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
async def test_an_outage_costs_the_time_out_until_it_is_known(
    tmp_path_factory: pytest.TempPathFactory, number: signal.Signals
) -> None:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        async with backend(server.url, timeout=0.1) as buckets:
            await ask(buckets, charge())
            server.signal(number)
            latencies = []
            for _ in range(20):
                started = time.monotonic()
                with pytest.raises(BackendUnavailable):
                    await buckets.take([charge()])
                latencies.append(time.monotonic() - started)
            server.signal(signal.SIGCONT)
    print("ms:", *(f"{latency * 1000:.1f}" for latency in latencies))
    # No bound in time here, as machines are busy: what waits is counted by the link's own test.
    assert not buckets._redis.up


@pytest.mark.parametrize("kind", ["alone", "cluster"])
async def test_the_rights_that_the_documentation_names_are_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    page = (REPOSITORY / "docs" / "rate-limits.md").read_text()
    named = re.findall(r"`((?:\+[a-z|]+ ?)+)`", page)
    rights = " ".join(named if kind == "cluster" else named[:1]).split()
    server: RedisServer | RedisCluster = RedisCluster(tmp_path)
    if kind == "alone":
        server = RedisServer(tmp_path)
    with server:  # the client library warns of what it cannot ask, which fails a test
        for node in server.nodes if isinstance(server, RedisCluster) else (server,):
            node.cli("acl", "setuser", "gateway", "on", ">secret", "~t:*", "~gatewayd:*", *rights)
        url = server.url.replace("redis://", "redis://gateway:secret@")
        async with backend(url, cluster=kind == "cluster") as buckets:
            one = charge()
            await ask(buckets, one)
            await buckets.fill(one)
            assert await buckets.held(one) == 10.0
            await buckets._redis.bump("keys")
            assert await buckets._redis.version("keys") == 1
            await buckets._redis.check()
    assert caplog.messages == []


@pytest.mark.parametrize("hours", [1, 24 * 365 * 10])
async def test_a_clock_that_was_set_back_keeps_nobody_out(
    redis_server: RedisServer, hours: int
) -> None:
    metrics = Metrics()
    one = charge(Limit(100.0, 10.0, 1.0), key=f"back|{new_key()}")
    async with backend(redis_server.url, meter=Meter(metrics)) as buckets:
        await ask(buckets, one, times=10)
        name = buckets._name(one.key)
        tokens, stamp, granted, since = redis_server.cli("get", name).split()
        ahead = hours * 3600 * 1_000_000
        later = f"{tokens} {int(stamp) + ahead} {granted} {int(since) + ahead}"
        redis_server.cli("set", name, later, "px", "60000")
        (first,) = await ask(buckets, one)
        assert first.remaining[0] < 1.0  # what was held counts, and no token for the time between
        async with asyncio.timeout(10):
            while not (await ask(buckets, one))[0].allowed:
                pass
        _, stamp, _, since = redis_server.cli("get", name).split()
    now = float(redis_server.cli("time").splitlines()[0])
    assert abs(int(stamp) / 1e6 - now) < 60
    assert abs(int(since) / 1e6 - now) < 60


REFUSING = {
    "no memory left": ["config", "set", "maxmemory", "1"],
    "too few replicas": ["config", "set", "min-replicas-to-write", "1"],
    "no right to ask": ["acl", "setuser", "default", "-evalsha"],
    "no right to write": ["acl", "setuser", "default", "-set"],
}


@pytest.mark.parametrize("harm", REFUSING.values(), ids=REFUSING)
async def test_a_server_that_refuses_is_an_outage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: list[str]
) -> None:
    with RedisServer(tmp_path) as server:
        async with backend(server.url) as buckets:
            await ask(buckets, charge())
            server.cli(*harm)
            for _ in range(20):
                with pytest.raises(BackendUnavailable):
                    await buckets.take([charge()])
            gc.collect()  # by which tasks whose errors nobody has seen are told
    assert len(caplog.records) == 1
    assert len(caplog.text) < 400


DAMAGED = {
    "no bucket": ["set", "{}", "no bucket"],
    "a list": ["rpush", "{}", "1"],
    "half a bucket": ["set", "{}", "1 2 3"],
    "not a number": ["set", "{}", "nan 1 0 1"],
    "no tokens for ever": ["set", "{}", "-inf 1 0 1"],
    "granted not a number": ["set", "{}", "5 1 nan 1"],
}


@pytest.mark.parametrize("harm", DAMAGED.values(), ids=DAMAGED)
async def test_a_damaged_bucket_begins_anew_and_harms_no_other(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, harm: list[str]
) -> None:
    metrics = Metrics()
    one, other = charge(), charge()
    async with backend(redis_server.url, meter=Meter(metrics)) as buckets:
        redis_server.cli(*(part.format(buckets._name(one.key)) for part in harm))
        before, bad, after = await asyncio.gather(
            buckets.take([other]), buckets.take([one]), buckets.take([other])
        )
        again = await ask(buckets, one, times=10)
    assert [round(verdict.remaining[0]) for verdict in (before, bad, after)] == [9, 9, 8]
    assert [verdict.allowed for verdict in again] == [True] * 9 + [False]
    assert metrics.counter("gatewayd_rate_limit_damaged_buckets", "").labels().value == 1
    assert ["could not be read" in message for message in caplog.messages] == [True]


async def test_of_many_damaged_buckets_the_first_is_told(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    async with backend(redis_server.url, meter=Meter(metrics)) as buckets:
        for one in (charge(), charge(), charge()):
            redis_server.cli("set", buckets._name(one.key), "no bucket")
            await buckets.take([one])
    assert metrics.counter("gatewayd_rate_limit_damaged_buckets", "").labels().value == 3
    assert ["could not be read" in message for message in caplog.messages] == [True]


async def test_a_bucket_that_takes_an_age_to_fill_harms_no_other(redis_server: RedisServer) -> None:
    async with backend(redis_server.url) as buckets:
        slowest = charge(parse_limit("0.000000001/day burst 1000000000000"), cost=1e12)
        verdicts = await asyncio.gather(buckets.take([slowest]), buckets.take([charge()]))
        (again,) = await ask(buckets, slowest)
    assert [verdict.allowed for verdict in verdicts] == [True, True]
    assert not again.allowed


async def test_an_answer_that_cannot_be_used_is_told_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonsense(*_: object) -> bytes:
        return b"1 none"

    async with backend(redis_server.url) as buckets:
        monkeypatch.setattr(buckets, "_run", nonsense)
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                await buckets.take([charge()])
    assert ["cannot be used" in message for message in caplog.messages] == [True]


async def test_answers_that_cannot_be_used_are_told_again_after_a_good_one(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonsense(*_: object) -> bytes:
        return b"1 none"

    async with backend(redis_server.url) as buckets:
        for _ in range(2):
            with monkeypatch.context() as patches:
                patches.setattr(buckets, "_run", nonsense)
                with pytest.raises(BackendUnavailable):
                    await buckets.take([charge()])
            await buckets.take([charge()])
    assert ["cannot be used" in message for message in caplog.messages] == [True, True]


async def test_so_many_questions_wait_and_no_more(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd_filters.token_bucket.redis_backend.MAX_WAITING", 2)
    async with backend(redis_server.url) as buckets:
        for _ in range(2):  # what was answered waits no more
            waiting = [buckets.take([charge()]) for _ in range(2)]
            with pytest.raises(BackendUnavailable):
                await buckets.take([charge()])
            assert [verdict.allowed for verdict in await asyncio.gather(*waiting)] == [True, True]


async def test_an_answer_that_is_lost_does_not_take_twice(redis_server: RedisServer) -> None:
    """The question arrives, the connection is cut before the answer: it is not asked again."""
    one = charge()
    async with (
        TcpProxy(redis_server.port) as proxy,
        backend(f"redis://127.0.0.1:{proxy.port}/0", timeout=0.2) as buckets,
    ):
        await ask(buckets, one)
        proxy.delay = 60.0
        with pytest.raises(BackendUnavailable):
            await buckets.take([one])
    async with backend(redis_server.url) as buckets:
        (verdict,) = await ask(buckets, one)
    assert round(verdict.remaining[0]) == 7  # one before, one of the lost answer, one now


def hammered(url: str, cluster: str, seconds: float, limit: Limit) -> int:
    """Return what eight processes were granted together."""
    module = "tests.filters.token_bucket.redis.hammer"
    arguments = [url, cluster, new_key(), limit.rate, limit.burst]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", module, *map(str, arguments)],
                    cwd=REPOSITORY,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(8)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        begin = time.time() + 0.3
        total = 0
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{begin} {begin + seconds}\n")
            process.stdin.flush()
        for process in processes:
            out, _ = process.communicate(timeout=seconds + 60)
            total += int(out)
    return total


@pytest.mark.parametrize(
    "seconds", [2.0, pytest.param(10.0, marks=pytest.mark.slow)], ids=["short", "long"]
)
@pytest.mark.parametrize("kind", ["alone", "cluster"])
def test_eight_processes_are_granted_the_rate_together(
    request: pytest.FixtureRequest, kind: str, seconds: float
) -> None:
    server = request.getfixturevalue("redis_cluster" if kind == "cluster" else "redis_server")
    limit = Limit(2000.0, 500.0, 1.0)
    granted = hammered(server.url, kind, seconds, limit)
    expected = limit.rate * seconds + limit.burst
    print(f"granted {granted} of {expected:.0f}: {granted / expected - 1:+.3%}")
    assert abs(granted - expected) <= 0.005 * expected
