"""maintenance: who is refused, how, and where."""

from __future__ import annotations

import json

import pytest
from gatewayd_example.maintenance import Maintenance

from gatewayd import Reject
from gatewayd.testing import Recorder, contract, in_memory, make_exchange, read_body, running

CONFIG = """
[pipeline]
filters = ["request_id", "route_match", "maintenance", "balancer", "upstream"]

[filters.maintenance]
allow = ["10.20.0.0/16"]

[[routes]]
name = "orders"
path = "/orders"
service = "origin"
filters.maintenance = { active = true, retry_after = 600 }

[[routes]]
name = "rest"
service = "origin"

[services.origin]
instances = [{ url = "http://127.0.0.1:9" }]
"""


async def test_keeps_the_contract() -> None:
    await contract(Maintenance)
    await contract(Maintenance, {"active": True})


async def test_refuses_while_active() -> None:
    upstream = Recorder()
    async with running(Maintenance, {"active": True}) as maintenance:
        with pytest.raises(Reject) as caught:
            await maintenance(make_exchange("GET", "/orders"), upstream)
    assert (caught.value.status, caught.value.code) == (503, "maintenance")
    assert not upstream.exchanges


async def test_does_nothing_by_default() -> None:
    async with running(Maintenance) as maintenance:
        assert (await maintenance(make_exchange(), Recorder())).status == 200


@pytest.mark.parametrize(
    ("address", "passes"),
    [
        ("10.20.1.1", True),
        ("10.21.1.1", False),
        ("2001:db8::1", False),
        ("::ffff:10.20.1.1", True),  # as a socket for both families shows it
    ],
)
async def test_lets_operators_through(address: str, passes: bool) -> None:
    upstream = Recorder()
    settings = {"active": True, "allow": ["10.20.0.0/16"]}
    async with running(Maintenance, settings) as maintenance:
        if passes:
            await maintenance(make_exchange(peer=address), upstream)
        else:
            with pytest.raises(Reject):
                await maintenance(make_exchange(peer=address), upstream)
    assert bool(upstream.exchanges) is passes


async def test_holds_for_the_routes_that_say_so() -> None:
    async with in_memory(CONFIG, filters=[Maintenance]) as gateway:
        orders = await gateway.send("GET", "/orders/7")
        rest = await gateway.send("GET", "/other")
        operator = await gateway.send("GET", "/orders/7", peer="10.20.0.9")
    assert (orders.status, orders.headers.get("Retry-After")) == (503, "600")
    assert json.loads(await read_body(orders))["code"] == "maintenance"
    assert (rest.status, operator.status) == (200, 200)
