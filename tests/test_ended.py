"""Exchanges that have ended are told of, many at once, all of them, and to the right ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gatewayd import Exchange, Filter, FilterConfig, Forward, Gateway, Observation, Response
from gatewayd.ended import BATCH, EndedExchanges
from gatewayd.testing import FakeClock, in_memory, make_exchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    import pytest


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[list[Exchange]] = []

    def __call__(self, exchanges: Sequence[Exchange]) -> None:
        self.told.append(list(exchanges))


def ended_to(*heard: Heard) -> EndedExchanges:
    ended = EndedExchanges(FakeClock(7.0))
    for one in heard:
        ended.report_to(one)
    return ended


async def test_they_are_told_of_when_there_are_enough() -> None:
    heard = Heard()
    ended = ended_to(heard)
    exchanges = [make_exchange() for _ in range(BATCH)]
    for exchange in exchanges:
        ended.add(exchange, None)
    assert heard.told == [exchanges]
    ended.close()


async def test_few_are_told_of_after_a_while() -> None:
    heard = Heard()
    ended = ended_to(heard)
    exchange = make_exchange()
    ended.add(exchange, None)
    assert heard.told == []
    async with asyncio.timeout(10):
        while not heard.told:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.01)
    assert heard.told == [[exchange]]


async def test_at_the_end_all_are_told_of() -> None:
    heard = Heard()
    ended = ended_to(heard)
    exchange = make_exchange()
    ended.add(exchange, None)
    ended.close()
    assert heard.told == [[exchange]]


async def test_they_know_when_and_how_they_ended() -> None:
    ended = ended_to(Heard())
    exchange, error = make_exchange(), ConnectionResetError()
    ended.add(exchange, error)
    assert (exchange.ended_at, exchange.error) == (7.0, error)
    ended.close()


async def test_without_anybody_who_listens_nothing_is_kept() -> None:
    ended = EndedExchanges(FakeClock())
    ended.add(make_exchange(), None)
    assert ended._waiting == []


async def test_one_that_fails_keeps_the_others_from_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(_: Sequence[Exchange]) -> None:
        raise RuntimeError("broken")

    heard = Heard()
    ended = EndedExchanges(FakeClock())
    ended.report_to(fails)
    ended.report_to(heard)
    ended.add(make_exchange(), None)
    ended.close()
    assert len(heard.told) == 1
    assert "1 exchanges could not be reported" in caplog.text


TOLD: list[tuple[str, str]] = []


class TellsConfig(FilterConfig):
    """Settings of `tells`."""

    name: str = "tells"
    """What it calls itself."""


class Tells(Filter[TellsConfig]):
    """Notes which exchanges it hears of."""

    name = "tells"
    Config = TellsConfig
    reports = True

    def report(self, exchanges: Sequence[Exchange]) -> None:
        """Note them."""
        TOLD.extend((self.config.name, exchange.request.path) for exchange in exchanges)


class Watches(Filter[FilterConfig]):
    """Has all exchanges observed."""

    name = "watches"

    def __init__(self, config: FilterConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        gateway.observe(lambda _: Observation())

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """Do nothing more."""
        return forward(exchange)


ROUTES = """
[services.origin]
instances = [{ url = "http://127.0.0.1:9" }]
[[routes]]
name = "a"
path = "/a"
service = "origin"
filters.tells.name = "of a"
[[routes]]
name = "b"
path = "/b"
service = "origin"
filters.tells = false
[[routes]]
name = "c"
path = "/c"
service = "origin"
"""


async def heard_of(pipeline: str, routes: str) -> list[tuple[str, str]]:
    TOLD.clear()
    config = f"pipeline.filters = {pipeline}\n{routes}"
    async with in_memory(config, filters=[Tells, Watches]) as gateway:
        for path in ("/a", "/b", "/c", "/nowhere"):
            await gateway.send("GET", path)
    return list(TOLD)


async def test_before_a_route_is_known_it_hears_of_all() -> None:
    plain = ROUTES.replace('filters.tells.name = "of a"', "").replace("filters.tells = false", "")
    pipeline = '["tells", "route_match", "balancer", "upstream"]'
    assert await heard_of(pipeline, plain) == [
        ("tells", "/a"), ("tells", "/b"), ("tells", "/c"), ("tells", "/nowhere"),
    ]  # fmt: skip


async def test_behind_that_it_hears_of_those_of_its_routes() -> None:
    pipeline = '["route_match", "tells", "balancer", "upstream"]'
    assert await heard_of(pipeline, ROUTES) == [("of a", "/a"), ("tells", "/c")]


async def test_it_hears_of_those_that_are_observed_as_well() -> None:
    pipeline = '["watches", "route_match", "tells", "balancer", "upstream"]'
    assert await heard_of(pipeline, ROUTES) == [("of a", "/a"), ("tells", "/c")]
