"""The kit that plugin authors, and our own tests, use: filters without sockets.

A single filter::

    async def test_answers_in_maintenance() -> None:
        async with running(Maintenance, {"retry_after": 60}) as maintenance:
            with pytest.raises(Reject) as caught:
                await maintenance(make_exchange("GET", "/orders"), Recorder())
        assert caught.value.status == 503

What every filter promises::

    async def test_contract() -> None:
        await contract(Maintenance)

A filter among others, with routes::

    async with in_memory(toml, filters=[Maintenance]) as gateway:
        response = await gateway.send("GET", "/orders")
"""

from gatewayd.testing.clock import FakeClock
from gatewayd.testing.contract import CHECKS, contract
from gatewayd.testing.exchanges import Recorder, make_exchange, read_body
from gatewayd.testing.gateways import make_gateway, make_service, running
from gatewayd.testing.in_memory import InMemoryGateway, in_memory
from gatewayd.testing.subject import ContractError, Subject

__all__ = [
    "CHECKS",
    "ContractError",
    "FakeClock",
    "InMemoryGateway",
    "Recorder",
    "Subject",
    "contract",
    "in_memory",
    "make_exchange",
    "make_gateway",
    "make_service",
    "read_body",
    "running",
]
