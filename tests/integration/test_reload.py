"""A reload under traffic: what runs goes on where it began, and what is new begins anew."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import TYPE_CHECKING
from weakref import ref

import pytest

from gatewayd import Store
from gatewayd.store.settings import StoreConfig
from tests.integration.configuration import config_for
from tests.integration.mixed_clients import run_clients
from tests.integration.mixed_origin import mixed_origin
from tests.support.in_process import InProcessGateway, serving
from tests.support.raw import RawOrigin, Wire, raw_origin, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gatewayd.generation import Generation

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.fixture
async def origin() -> AsyncIterator[RawOrigin]:
    async with raw_origin() as origin:
        yield origin


@pytest.fixture
async def gateway(origin: RawOrigin, tmp_path: Path) -> AsyncIterator[InProcessGateway]:
    async with serving(config_for(origin.port), tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: InProcessGateway) -> AsyncIterator[Wire]:
    wire = await Wire.connect(gateway.port)
    yield wire
    wire.close()


async def answer(at_origin: Wire, client: Wire) -> None:
    """Answer the request that the client has sent."""
    await at_origin.read_head()
    at_origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await client.read_answer()).body == b"ok"


def is_retiring(generation: Generation) -> bool:
    name = f"retire generation {generation.number}"
    return any(task.get_name() == name for task in asyncio.all_tasks())


def any_retiring() -> bool:
    return any(task.get_name().startswith("retire ") for task in asyncio.all_tasks())


async def test_a_tunnel_outlives_a_reload_and_keeps_its_generation(
    origin: RawOrigin, gateway: InProcessGateway, client: Wire
) -> None:
    client.send(GET[:-2] + UPGRADE)
    at_origin = await origin.accept()
    at_origin.send(b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE)
    await at_origin.read_head()
    await client.read_head()
    old = gateway.generations.current
    async with raw_origin() as other:
        await gateway.adopt(config_for(other.port))
        for number in range(3):
            client.send(b"ping %d" % number)
            assert await at_origin.read(6) == b"ping %d" % number
            at_origin.send(b"pong %d" % number)
            assert await client.read(6) == b"pong %d" % number
        assert (old.in_flight, is_retiring(old)) == (1, True)
        client.close()
        assert await at_origin.read_to_end() == b""
        at_origin.close()
        await until(lambda: not is_retiring(old))
        assert old.in_flight == 0


async def test_an_exchange_ends_where_it_began(
    origin: RawOrigin, gateway: InProcessGateway, client: Wire
) -> None:
    """Half of the request and of the response lie behind the reload to another origin."""
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    at_origin = await origin.accept()
    await at_origin.read_head()
    assert await at_origin.read(2) == b"ab"
    old = gateway.generations.current
    async with raw_origin() as other:
        await gateway.adopt(config_for(other.port))
        client.send(b"cd")
        assert await at_origin.read(2) == b"cd"
        at_origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert (await client.read_answer()).body == b"ok"
        await until(lambda: not is_retiring(old))
        client.send(GET)  # on the same connection, but with the new configuration
        await answer(await other.accept(), client)
        assert origin.accepted == 1


async def test_connections_to_an_origin_stay_where_its_settings_did_not_change(
    origin: RawOrigin, gateway: InProcessGateway, client: Wire
) -> None:
    client.send(GET)
    at_origin = await origin.accept()
    await answer(at_origin, client)
    await gateway.adopt(config_for(origin.port) + "[filters.cors]\nmax_age = 1\n")
    client.send(GET)
    await answer(at_origin, client)
    assert origin.accepted == 1


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "[services.origin.outlier]\nconsecutive_failures = 5\n",
        "[filters.balancer]\nstrategy = 'p2c'\n",
        "[filters.breaker]\nscope = 'service'\n",
        "[filters.breaker]\npersist = true\n[store]\nurl = 'sqlite:///{folder}/gatewayd.db'\n",
        "[filters.retry]\nhedge = {{ after = 60, percentile = 95 }}\n",
        "[filters.token_bucket]\nrate = 1000\n",
    ],
)
async def test_what_is_kept_does_not_keep_the_generation_that_made_it(
    origin: RawOrigin, tmp_path: Path, settings: str
) -> None:
    config = config_for(origin.port) + settings.format(folder=tmp_path)
    async with serving(config, tmp_path) as gateway:
        client = await Wire.connect(gateway.port)
        client.send(GET)
        await answer(await origin.accept(), client)
        client.close()
        await until(lambda: gateway.server.open_connections == 0)
        first = ref(gateway.generations.current)
        await gateway.adopt(config + "[filters.cors]\nmax_age = 1\n")

        def is_gone() -> bool:
            gc.collect()
            return first() is None

        await until(is_gone)


async def test_a_breaker_from_before_a_reload_tells_the_store_of_now(
    origin: RawOrigin, tmp_path: Path
) -> None:
    def settings(name: str) -> str:
        return (
            config_for(origin.port)
            + "[filters.breaker]\npersist = true\nconsecutive_failures = 1\n"
            + f"[store]\nurl = 'sqlite:///{tmp_path}/{name}.db'\n"
        )

    async with serving(settings("before"), tmp_path) as gateway:
        client = await Wire.connect(gateway.port)
        client.send(GET)
        at_origin = await origin.accept()
        await answer(at_origin, client)
        await gateway.adopt(settings("after"))
        await until(lambda: not any_retiring())
        client.send(GET)
        await at_origin.read_head()
        at_origin.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        assert (await client.read_answer()).status == 500
        client.close()
    store = Store(StoreConfig(url=f"sqlite:///{tmp_path}/after.db"))
    await store.start()
    rows = await store.breaker_states.latest(socket.gethostname()[:128])
    await store.close()
    assert [row.state for row in rows] == ["open"]


async def test_an_idle_connection_does_not_keep_the_generation_of_its_last_request(
    origin: RawOrigin, gateway: InProcessGateway, client: Wire
) -> None:
    client.send(GET)
    await answer(await origin.accept(), client)
    first = ref(gateway.generations.current)
    await gateway.adopt(config_for(origin.port) + "[filters.cors]\nmax_age = 1\n")

    def is_gone() -> bool:
        gc.collect()
        return first() is None

    await until(is_gone)


async def test_idle_connections_end_where_the_settings_changed(
    origin: RawOrigin, gateway: InProcessGateway, client: Wire
) -> None:
    client.send(GET)
    at_origin = await origin.accept()
    await answer(at_origin, client)
    await gateway.adopt(config_for(origin.port).replace("idle_timeout = 1", "idle_timeout = 600"))
    assert await at_origin.read_to_end() == b""


async def test_no_exchange_of_mixed_traffic_fails_because_of_reloads(tmp_path: Path) -> None:
    """With other settings of the connections each time, so that no pool is kept."""
    async with mixed_origin() as origin:
        config = config_for(origin.port)
        async with serving(config, tmp_path) as gateway:
            first = gateway.generations.current.number
            async with asyncio.TaskGroup() as running:
                traffic = running.create_task(run_clients(gateway.port, 16, seconds=3))
                while not traffic.done():
                    number = gateway.generations.current.number
                    await gateway.adopt(config + f"connect_timeout = {number}\n")
                    await asyncio.wait([traffic], timeout=0.1)
            await until(lambda: gateway.server.open_connections == 0)
            await until(lambda: origin.connections == 0)
            # The last one begins to retire only after the traffic has ended.
            await until(lambda: not any_retiring())
            assert gateway.generations.current.number > first + 5
            assert traffic.result() > 16
