"""ops: what probes are told, and what they cost."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from gatewayd import Reject
from gatewayd.testing import FakeClock, Recorder, make_exchange, make_gateway, read_body, running
from gatewayd_filters.ops import Ops, OpsConfig


class Dependency:
    """A dependency that a test breaks, and that counts how often it is asked."""

    def __init__(self) -> None:
        self.times_asked = 0
        self.asked = asyncio.Event()
        self.failure: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def check(self) -> None:
        self.times_asked += 1
        self.asked.set()
        await self.answers.wait()
        if self.failure is not None:
            raise self.failure


async def get(ops: Ops, path: str) -> tuple[int, dict[str, object]]:
    response = await ops(make_exchange("GET", path), Recorder())
    return response.status, json.loads(await read_body(response))


async def test_health_is_ok() -> None:
    async with running(Ops) as ops:
        assert await get(ops, "/health") == (200, {"status": "ok"})


async def test_health_is_ok_while_draining() -> None:
    gateway = make_gateway()
    gateway.readiness.draining = True
    async with running(Ops, gateway=gateway) as ops:
        assert await get(ops, "/health") == (200, {"status": "ok"})


async def test_ready_without_dependencies() -> None:
    async with running(Ops) as ops:
        assert await get(ops, "/ready") == (200, {"status": "ready", "checks": {}})


async def test_answers_are_json_that_is_not_cached() -> None:
    async with running(Ops) as ops:
        response = await ops(make_exchange("GET", "/health"), Recorder())
    assert response.headers.get("Content-Type") == "application/json"
    assert response.headers.get("Cache-Control") == "no-store"


async def test_draining_is_not_ready_at_once() -> None:
    gateway = make_gateway()
    async with running(Ops, gateway=gateway) as ops:
        await get(ops, "/ready")
        gateway.readiness.draining = True
        assert await get(ops, "/ready") == (503, {"status": "draining"})


@pytest.mark.parametrize(
    ("gates", "status", "word"), [(True, 503, "not_ready"), (False, 200, "ready")]
)
async def test_a_failed_dependency_counts_if_it_gates(gates: bool, status: int, word: str) -> None:
    gateway, redis = make_gateway(), Dependency()
    redis.failure = ConnectionError("redis://user:secret@10.0.0.1 refused")
    gateway.readiness.add("redis", redis.check, gates=gates)
    async with running(Ops, gateway=gateway) as ops:
        assert await get(ops, "/ready") == (
            status,
            {
                "status": word,
                "checks": {"redis": {"status": "down", "latency_ms": 0.0, "gates": gates}},
            },
        )


async def test_checks_tell_their_latency() -> None:
    clock = FakeClock()
    gateway = make_gateway(clock=clock)

    async def slow() -> None:
        clock.advance(0.0125)

    gateway.readiness.add("store", slow)
    async with running(Ops, gateway=gateway) as ops:
        assert await get(ops, "/ready") == (
            200,
            {
                "status": "ready",
                "checks": {"store": {"status": "up", "latency_ms": 12.5, "gates": True}},
            },
        )


async def test_a_check_that_hangs_is_down() -> None:
    gateway, redis = make_gateway(), Dependency()
    redis.answers.clear()
    gateway.readiness.add("redis", redis.check)
    async with running(Ops, {"timeout": 0.001}, gateway=gateway) as ops:
        status, _ = await get(ops, "/ready")
    assert status == 503


async def test_checks_run_side_by_side() -> None:
    gateway, first = make_gateway(), Dependency()
    first.answers.clear()

    async def lets_the_first_go_on() -> None:
        first.answers.set()

    gateway.readiness.add("first", first.check)
    gateway.readiness.add("second", lets_the_first_go_on)
    async with running(Ops, gateway=gateway) as ops:
        assert (await get(ops, "/ready"))[0] == 200


async def test_probes_share_a_run_of_the_checks() -> None:
    gateway, redis = make_gateway(), Dependency()
    gateway.readiness.add("redis", redis.check)
    async with running(Ops, gateway=gateway) as ops:
        await asyncio.gather(*(get(ops, "/ready") for _ in range(10)))
    assert redis.times_asked == 1


async def test_results_are_kept_for_the_time_that_is_set() -> None:
    clock, redis = FakeClock(), Dependency()
    gateway = make_gateway(clock=clock)
    gateway.readiness.add("redis", redis.check)
    async with running(Ops, {"cache": 1}, gateway=gateway) as ops:
        await get(ops, "/ready")
        clock.advance(0.9)
        await get(ops, "/ready")
        assert redis.times_asked == 1
        clock.advance(0.1)
        await get(ops, "/ready")
        assert redis.times_asked == 2


async def test_a_probe_that_gives_up_leaves_the_run_to_the_others() -> None:
    gateway, redis = make_gateway(), Dependency()
    redis.answers.clear()
    gateway.readiness.add("redis", redis.check)
    async with running(Ops, gateway=gateway) as ops:
        impatient = asyncio.create_task(get(ops, "/ready"))
        patient = asyncio.create_task(get(ops, "/ready"))
        await redis.asked.wait()
        impatient.cancel()
        redis.answers.set()
        assert (await patient)[0] == 200
    assert impatient.cancelled()


async def test_close_ends_a_run_under_way() -> None:
    gateway, redis = make_gateway(), Dependency()
    redis.answers.clear()
    gateway.readiness.add("redis", redis.check)
    async with running(Ops, gateway=gateway) as ops:
        probe = asyncio.create_task(get(ops, "/ready"))
        await redis.asked.wait()
        await gateway.readiness.close()  # as the generation does
    with pytest.raises(asyncio.CancelledError):
        await probe


async def test_logs_an_outage_once_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    clock, redis = FakeClock(), Dependency()
    gateway = make_gateway(clock=clock)
    gateway.readiness.add("redis", redis.check)
    caplog.set_level(logging.INFO, "gatewayd.readiness")
    async with running(Ops, gateway=gateway) as ops:
        for failure in (None, ConnectionError("refused"), ConnectionError("refused"), None, None):
            redis.failure = failure
            await get(ops, "/ready")
            clock.advance(5)
    assert [record.message for record in caplog.records] == [
        "dependency redis is down: ConnectionError('refused')",
        "dependency redis is up again",
    ]


async def test_head_is_answered_as_get() -> None:
    async with running(Ops) as ops:
        assert (await ops(make_exchange("HEAD", "/ready"), Recorder())).status == 200


async def test_other_methods_are_refused() -> None:
    async with running(Ops) as ops:
        with pytest.raises(Reject) as caught:
            await ops(make_exchange("POST", "/health"), Recorder())
    assert (caught.value.status, caught.value.headers) == (405, [("Allow", "GET, HEAD")])


@pytest.mark.parametrize("path", ["/", "/healthz", "/health/", "/api/health"])
async def test_other_paths_go_on(path: str) -> None:
    upstream = Recorder()
    async with running(Ops) as ops:
        await ops(make_exchange("GET", path), upstream)
    assert len(upstream.exchanges) == 1


async def test_paths_are_settings() -> None:
    upstream = Recorder()
    async with running(Ops, {"health": "/-/live", "ready": "/-/ready"}) as ops:
        assert (await get(ops, "/-/live"))[0] == 200
        assert (await get(ops, "/-/ready"))[0] == 200
        await ops(make_exchange("GET", "/health"), upstream)
    assert len(upstream.exchanges) == 1


@pytest.mark.parametrize(
    "settings", [{"health": "health"}, {"health": "/ready"}, {"ready": "/a b"}, {"cache": -1}]
)
def test_refuses_settings_that_cannot_work(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="OpsConfig"):
        OpsConfig.model_validate(settings)
