from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gatewayd.services.dns import DnsConfig, DnsDiscovery
from tests.support.dns_server import DnsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gatewayd.services.discovery import InstanceSpec

NAME = "api.test"
SRV_NAME = "_http._tcp.api.test"


class Follower:
    """A discovery with a record of what it has told."""

    def __init__(self, **settings: Any) -> None:
        settings = {"min_ttl": 0.02, "timeout": 0.5} | settings
        self.discovery = DnsDiscovery("api", DnsConfig(**settings))
        self.told: list[list[tuple[str, int]]] = []
        self._changed = asyncio.Event()

    def update(self, specs: Sequence[InstanceSpec]) -> None:
        self.told.append([(spec.url, spec.weight) for spec in specs])
        self._changed.set()

    async def start(self) -> None:
        await self.discovery.start(self.update)

    async def changed(self) -> list[tuple[str, int]]:
        async with asyncio.timeout(5):
            await self._changed.wait()
        self._changed.clear()
        return self.told[-1]


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        yield server


@pytest.fixture
async def follow(server: DnsServer) -> AsyncIterator[Callable[..., Follower]]:
    followers: list[Follower] = []

    def follow(**settings: Any) -> Follower:
        followers.append(Follower(resolvers=[server.address], **settings))
        return followers[-1]

    yield follow
    for follower in followers:
        await follower.discovery.close()


async def test_every_address_of_a_name_is_an_instance(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_a(NAME, "10.0.0.2", "10.0.0.1")
    server.add_aaaa(NAME, "fd00::1")
    follower = follow(name=NAME, port=8080, scheme="https")
    await follower.start()
    assert follower.told == [
        [
            ("https://10.0.0.1:8080", 1),
            ("https://10.0.0.2:8080", 1),
            ("https://[fd00::1]:8080", 1),
        ]
    ]


async def test_srv_tells_ports_and_weights_of_the_first_priority(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_srv(
        SRV_NAME, (10, 3, 8001, "a.test"), (10, 0, 8002, "b.test"), (20, 1, 9, "spare.test")
    )
    server.add_a("a.test", "10.0.0.1")
    server.add_a("b.test", "10.0.0.2")
    follower = follow(name=SRV_NAME)
    await follower.start()
    assert follower.told == [[("http://10.0.0.1:8001", 3), ("http://10.0.0.2:8002", 1)]]
    assert ("spare.test", "A") not in server.questions


async def test_srv_target_without_address_is_left_out(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_srv(SRV_NAME, (1, 1, 80, "gone.test"), (1, 1, 80, "here.test"))
    server.add_a("here.test", "10.0.0.1")
    follower = follow(name=SRV_NAME)
    await follower.start()
    assert follower.told == [[("http://10.0.0.1:80", 1)]]


async def test_srv_target_dot_means_no_instance(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_srv(SRV_NAME, (0, 0, 0, "."))
    follower = follow(name=SRV_NAME)
    await follower.start()
    assert follower.told == [[]]


async def test_instances_that_were_withdrawn_do_not_come_back_in_an_outage(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_srv(SRV_NAME, (1, 1, 80, "a.test"), ttl=0)
    server.add_a("a.test", "10.0.0.1", ttl=0)
    follower = follow(name=SRV_NAME)
    await follower.start()
    await follower.changed()
    server.add_srv(SRV_NAME, (0, 0, 0, "."), ttl=0)
    assert await follower.changed() == []
    server.broken.add(SRV_NAME)
    for _ in range(3):
        await server.asked_again()
    server.broken.clear()
    server.add_srv(SRV_NAME, (1, 1, 81, "a.test"), ttl=0)
    assert await follower.changed() == [("http://10.0.0.1:81", 1)]
    assert len(follower.told) == 3


async def test_what_one_answer_may_bring_is_bounded_and_that_is_logged_once(
    server: DnsServer,
    follow: Callable[..., Follower],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("gatewayd.services.dns_lookup.MAX_TARGETS", 2)
    monkeypatch.setattr("gatewayd.services.dns_lookup.MAX_INSTANCES", 3)
    targets = ["a.test", "b.test", "c.test"]
    server.add_srv(SRV_NAME, *[(1, 1, 80, name) for name in reversed(targets)], ttl=0)
    for number, name in enumerate(targets):
        server.add_a(name, *[f"10.0.{number}.{last}" for last in (2, 1)], ttl=0)
    follower = follow(name=SRV_NAME)
    await follower.start()
    told = [("http://10.0.0.1:80", 1), ("http://10.0.0.2:80", 1), ("http://10.0.1.1:80", 1)]
    for _ in range(3):
        await server.asked_again()
    assert follower.told == [told]
    assert ("c.test", "A") not in server.questions
    assert caplog.messages == [
        "service api: DNS tells too many, using 2 of 3 targets, 3 of 4 instances"
    ]


async def test_a_change_is_followed_when_the_ttl_is_over(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_a(NAME, "10.0.0.1", ttl=0)
    follower = follow(name=NAME, port=80)
    await follower.start()
    await follower.changed()
    server.add_a(NAME, "10.0.0.2")
    assert await follower.changed() == [("http://10.0.0.2:80", 1)]


async def test_max_ttl_bounds_a_long_ttl(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_a(NAME, "10.0.0.1", ttl=86400)
    follower = follow(name=NAME, port=80, max_ttl=0.02)
    await follower.start()
    await follower.changed()
    server.add_a(NAME, "10.0.0.2", ttl=86400)
    assert await follower.changed() == [("http://10.0.0.2:80", 1)]


async def test_rotated_records_are_no_change(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_a(NAME, "10.0.0.1", "10.0.0.2", ttl=0)
    follower = follow(name=NAME, port=80)
    await follower.start()
    server.add_a(NAME, "10.0.0.2", "10.0.0.1", ttl=0)
    await server.asked_again()
    await server.asked_again()
    server.add_a(NAME, "10.0.0.3")
    while ("http://10.0.0.3:80", 1) not in follower.told[-1]:
        await follower.changed()
    assert len(follower.told) == 2


def _no_such_name(server: DnsServer) -> None:
    server.records.clear()


def _server_failure(server: DnsServer) -> None:
    server.broken.add(NAME)


def _silence(server: DnsServer) -> None:
    server.silent = True


def _records_of_another_type(server: DnsServer) -> None:
    server.records.clear()
    server.add_srv(NAME, (1, 1, 1, "x.test"))


@pytest.mark.parametrize(
    "outage", [_no_such_name, _server_failure, _silence, _records_of_another_type]
)
async def test_instances_outlast_an_outage_which_is_logged_once(
    server: DnsServer,
    follow: Callable[..., Follower],
    caplog: pytest.LogCaptureFixture,
    outage: Callable[[DnsServer], None],
) -> None:
    caplog.set_level("INFO", "gatewayd.services.dns")
    server.add_a(NAME, "10.0.0.1", ttl=0)
    follower = follow(name=NAME, port=80, timeout=0.3)
    await follower.start()
    await follower.changed()
    outage(server)
    for _ in range(3):
        await server.asked_again()
    server.silent = False
    server.broken.clear()
    server.add_a(NAME, "10.0.0.2", ttl=0)
    assert await follower.changed() == [("http://10.0.0.2:80", 1)]
    assert len(follower.told) == 2
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "going on with those known" in caplog.messages[0]


async def test_records_that_cannot_be_asked_for_stand_as_they_were(
    server: DnsServer, follow: Callable[..., Follower]
) -> None:
    server.add_srv(SRV_NAME, (1, 1, 80, "a.test"), (1, 1, 80, "b.test"), ttl=0)
    server.add_a("a.test", "10.0.0.1", ttl=0)
    server.add_a("b.test", "10.0.0.2", ttl=0)
    follower = follow(name=SRV_NAME)
    await follower.start()
    await follower.changed()
    server.broken.add("b.test")
    server.add_a("a.test", "10.0.0.3", ttl=0)
    assert await follower.changed() == [("http://10.0.0.2:80", 1), ("http://10.0.0.3:80", 1)]


async def test_start_goes_on_without_an_answer_and_the_answer_comes_later(
    server: DnsServer, follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture
) -> None:
    follower = follow(name=NAME, port=80)
    await follower.start()
    assert follower.told == []
    assert "no instance is known" in caplog.text
    server.add_a(NAME, "10.0.0.1")
    assert await follower.changed() == [("http://10.0.0.1:80", 1)]


async def test_pauses_after_failures_grow_up_to_a_bound() -> None:
    discovery = DnsDiscovery("api", DnsConfig(name=NAME, port=80, min_ttl=1, max_ttl=300))
    pauses = [discovery._failed(["down"]) for _ in range(40)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 30]
    assert pauses[-1] == 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": NAME}, "port"),
        ({"name": SRV_NAME, "port": 80}, "port"),
        ({"name": NAME, "type": "SRV", "port": 80}, "port"),
        ({"name": SRV_NAME, "min_ttl": 10, "max_ttl": 5}, "min_ttl"),
        ({"name": "a b", "port": 80}, "pattern"),
        ({"name": NAME, "port": 80, "resolvers": ["dns.test"]}, "address"),
        ({"name": NAME, "port": 80, "resolvers": ["10.0.0.1:x"]}, "address"),
        ({"name": NAME, "port": 80, "resolvers": ["u@10.0.0.1:53"]}, "address"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DnsConfig(**settings)


@pytest.mark.parametrize("resolver", ["10.0.0.1", "10.0.0.1:5353", "::1", "[::1]:53", "[::1]:5353"])
def test_resolvers_have_an_address_with_a_port_or_without(resolver: str) -> None:
    assert DnsConfig(name=SRV_NAME, resolvers=[resolver]).resolvers == [resolver]
