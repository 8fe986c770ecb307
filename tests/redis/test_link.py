"""The connection to Redis: up, away, and up again, within bounds."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gatewayd import Redis, RedisUnavailable
from gatewayd.redis.settings import RedisConfig
from gatewayd.telemetry.metrics import Metrics
from tests.support.process import free_port
from tests.support.raw import until
from tests.support.redis_server import RedisCluster, RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

QUICK = {"probe_interval": 0.02}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that the test may kill."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as started:
        yield started


@asynccontextmanager
async def link(url: str, metrics: Metrics | None = None, **settings: Any) -> AsyncIterator[Redis]:
    config = RedisConfig.model_validate({"url": url, **QUICK, **settings})
    redis = Redis(config, metrics)
    await redis.start()
    try:
        yield redis
    finally:
        async with asyncio.timeout(10):
            await redis.close()


async def test_two_links_see_each_others_changes(server: RedisServer) -> None:
    async with link(server.url) as one, link(server.url) as other:
        before = await one.version("keys")
        assert await other.bump("keys") == before + 1
        assert await one.version("keys") == before + 1
        assert await one.version("tokens") == 0


async def test_a_prefix_keeps_gateways_apart(server: RedisServer) -> None:
    async with link(server.url, prefix="a:") as one, link(server.url, prefix="b:") as other:
        await one.bump("keys")
        assert await other.version("keys") == 0


async def test_a_cluster(tmp_path_factory: pytest.TempPathFactory) -> None:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        async with link(cluster.url, cluster=True) as redis:
            for topic in ("a", "b", "c", "d"):  # of all three masters
                assert await redis.bump(topic) == 1
                assert await redis.version(topic) == 1


async def test_nobody_there_is_no_reason_not_to_start() -> None:
    async with link(f"redis://127.0.0.1:{free_port()}/0") as redis:
        assert not redis.up
        with pytest.raises(RedisUnavailable):
            await redis.check()


async def test_why_it_cannot_be_reached_is_told(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    async with link(f"redis://127.0.0.1:{port}/0", timeout=5.0):
        pass
    assert "Redis cannot be reached: ConnectionError: Unable to establish" in caplog.text
    assert f"127.0.0.1:{port}" in caplog.text


async def test_a_server_that_says_nothing_at_the_start_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with link(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=0.1):
            pass
    assert "Redis cannot be reached: no answer within 0.5 s" in caplog.text


async def test_a_server_that_comes_later_is_found(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    later = RedisServer(tmp_path_factory.mktemp("redis"))
    async with link(later.url) as redis:
        with later:
            await until(lambda: redis.up)
            assert await redis.bump("keys") == 1


async def test_a_server_that_was_killed_is_left_alone_and_found_again(
    mortal: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with link(mortal.url) as redis:
        await redis.check()
        mortal.signal(signal.SIGKILL)
        mortal.wait()
        for _ in range(3):
            with pytest.raises(RedisUnavailable):
                await redis.check()
        assert not redis.up
        await until(lambda: "Redis cannot be reached" in caplog.text)
        mortal.start()
        await until(lambda: redis.up)
        await redis.check()


async def test_failures_between_which_calls_succeed_are_no_outage(server: RedisServer) -> None:
    async def fail(_: object) -> None:
        raise OSError("lost")

    async with link(server.url, failures=3, timeout=5.0) as redis:
        for _ in range(3):
            for _ in range(2):
                with pytest.raises(RedisUnavailable, match="lost"):
                    await redis.call(fail)
            await redis.check()


async def test_a_server_that_hangs_costs_no_more_than_the_time_out(mortal: RedisServer) -> None:
    metrics = Metrics()
    async with link(mortal.url, metrics) as redis:
        await redis.check()
        mortal.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(10):
                for _ in range(50):
                    with pytest.raises(RedisUnavailable):
                        await redis.check()
            calls = metrics.counter("gatewayd_redis_calls", "", ("result",))
            assert calls.labels("failure").value == 3
            assert calls.labels("refused").value == 47
        finally:
            mortal.signal(signal.SIGCONT)
        await until(lambda: redis.up)
        await redis.check()


async def test_a_cancelled_call_harms_no_other(mortal: RedisServer) -> None:
    async with link(mortal.url) as redis:
        calls = [asyncio.create_task(redis.bump("keys")) for _ in range(20)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(not call.cancelled() for call in calls[1::2])
        await redis.check()


async def test_a_value_that_does_not_fit_loses_no_connection(server: RedisServer) -> None:
    server.cli("set", "gatewayd:version:text", "no number")
    async with link(server.url) as redis:
        for _ in range(5):
            with pytest.raises(RedisUnavailable, match="not an integer"):
                await redis.bump("text")
        assert redis.up


REFUSING = {
    "no memory left": (["config", "set", "maxmemory", "1"], ["config", "set", "maxmemory", "0"]),
    "too few replicas": (
        ["config", "set", "min-replicas-to-write", "1"],
        ["config", "set", "min-replicas-to-write", "0"],
    ),
    "no right": (
        ["acl", "setuser", "default", "-incr"],
        ["acl", "setuser", "default", "+incr"],
    ),
}


@pytest.mark.parametrize(("harm", "mend"), REFUSING.values(), ids=REFUSING)
async def test_a_server_that_refuses_is_an_outage_that_is_told_once(
    mortal: RedisServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    harm: list[str],
    mend: list[str],
) -> None:
    metrics = Metrics()
    caplog.set_level("INFO")
    async with link(mortal.url, metrics, timeout=5.0) as redis:
        caplog.clear()
        mortal.cli(*harm)
        for _ in range(20):
            with pytest.raises(RedisUnavailable, match="it refuses: "):
                await redis.bump("keys")
            await redis.version("keys")  # which is granted, and ends nothing
        with pytest.raises(RedisUnavailable):
            await redis.check()
        assert (
            metrics.counter("gatewayd_redis_calls", "", ("result",)).labels("failure").value == 20
        )
        assert metrics.gauge("gatewayd_redis_up", "", combine="min").labels().value == 0
        mortal.cli(*mend)
        monkeypatch.setattr("gatewayd.redis.link._REFUSING_SECONDS", 0.0)
        await redis.bump("keys")
        await redis.check()
        assert metrics.gauge("gatewayd_redis_up", "", combine="min").labels().value == 1
    refused, again = caplog.messages
    assert "does not do what it is asked" in refused
    assert "does again" in again


async def test_a_server_that_may_only_be_read_is_told_once_however_often_it_is_left(
    mortal: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have become a replica, so it is looked up again; where it is the same, that is new."""
    metrics = Metrics()
    up = metrics.gauge("gatewayd_redis_up", "", combine="min").labels()
    caplog.set_level("INFO")
    async with link(mortal.url, metrics, timeout=5.0) as redis:
        caplog.clear()
        mortal.cli("replicaof", "127.0.0.1", str(free_port()))
        for _ in range(3):
            await until(lambda: redis.up)
            for _ in range(3):
                with pytest.raises(RedisUnavailable, match="read only"):
                    await redis.bump("keys")
            assert not redis.up
            assert up.value == 0
        await until(lambda: redis.up)
        assert up.value == 0
        assert await redis.version("keys") == 0  # which is granted, and ends nothing
        mortal.cli("replicaof", "no", "one")
        monkeypatch.setattr("gatewayd.redis.link._REFUSING_SECONDS", 0.0)
        await redis.bump("keys")
        assert up.value == 1
    refused, again = caplog.messages
    assert "does not do what it is asked" in refused
    assert "does again" in again


async def test_reasons_of_one_outage_are_told_up_to_a_bound(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with link(server.url, timeout=5.0) as redis:
        for number in range(20):
            with pytest.raises(RedisUnavailable):
                await redis.call(lambda client: client.eval(f"error('{number}')"))  # noqa: B023
    assert len([one for one in caplog.messages if "does not do" in one]) == 8


async def test_a_wrong_password_is_not_shown(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path_factory.mktemp("redis")
    with RedisServer(folder, ["--requirepass", "right"]) as secured:
        wrong = secured.url.replace("redis://", "redis://:mistaken@")
        async with link(wrong) as redis:
            assert not redis.up
        right = secured.url.replace("redis://", "redis://:right@")
        async with link(right) as redis:
            assert redis.up
    assert "mistaken" not in caplog.text + repr(redis.config)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://127.0.0.1:6379"},
        {"url": "redis://"},
        {"url": "redis://127.0.0.1:99999/0"},
        {"url": "redis://127.0.0.1:0/0"},
        {"url": "redis://127.0.0.1:6379/first"},
        {"url": "redis://127.0.0.1:6379/0?timeout=7"},
        {"cluster": True, "sentinel": "main", "nodes": ["127.0.0.1:26379"]},
        {"sentinel": "main"},
        {"nodes": ["127.0.0.1:6379"]},
        {"cluster": True, "nodes": ["127.0.0.1"]},
        {"cluster": True, "nodes": ["127.0.0.1:0"]},
        {"cluster": True, "nodes": ["127.0.0.1:65536"]},
        {"prefix": "a b"},
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RedisConfig.model_validate(settings)
