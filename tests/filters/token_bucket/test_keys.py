from __future__ import annotations

from typing import Any

import pytest

from gatewayd import Principal, Route
from gatewayd.config.schema import RouteConfig
from gatewayd.testing import make_exchange, make_service
from gatewayd_filters.token_bucket.keys import Keys, network_of, plain

ALICE = Principal("alice", "jwt", claims={"tenant": "acme", "level": 3})
KEYED = Principal("alice", "api_key", key_id="k-1")
ROUTE_A = Route(RouteConfig.model_validate({"name": "a", "path": "/a", "service": "api"}))


def text(*parts: str, principal: Principal | None = None, **given: Any) -> str:
    values = {"principal": principal} if principal else {}
    exchange = make_exchange(
        values={"route": ROUTE_A, "service": make_service("api"), **values}, **given
    )
    return Keys(parts, 64).text(exchange)


@pytest.mark.parametrize(
    ("parts", "principal", "key"),
    [
        (["principal"], ALICE, "principal=alice"),
        (["principal"], None, "ip=192.0.2.1"),
        (["api_key"], KEYED, "api_key=k-1"),
        (["api_key"], ALICE, "principal=alice"),
        (["api_key"], None, "ip=192.0.2.1"),
        (["ip"], ALICE, "ip=192.0.2.1"),
        (["route"], ALICE, "route=a"),
        (["service"], None, "service=api"),
        (["header:X-Tenant"], None, "header:x-tenant=acme"),
        (["header:X-Other"], None, "header:x-other=-"),
        (["claim:tenant"], ALICE, "claim:tenant=acme"),
        (["claim:level"], ALICE, "claim:level=3"),
        (["claim:tenant"], None, "claim:tenant=-"),
        (["principal", "route", "header:X-Tenant"], ALICE,
         "principal=alice|route=a|header:x-tenant=acme"),
    ],
)  # fmt: skip
def test_what_callers_are_told_apart_by(
    parts: list[str], principal: Principal | None, key: str
) -> None:
    assert text(*parts, principal=principal, headers={"X-Tenant": "acme"}) == key


@pytest.mark.parametrize("value", ["-", "a|b", "a b", "{tag}", "x" * 65, "ü", "a=b", "#0"])
def test_values_that_are_long_or_mean_something_are_hashed(value: str) -> None:
    key = text("principal", principal=Principal(value, "jwt"))
    assert key.startswith("principal=#")
    assert len(key) == len("principal=#") + 32


def test_hashes_are_the_same_on_all_nodes() -> None:
    assert plain("a b") == "#acc9227cc02e5f5c13e74125bce89499"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", "#"),
    ],
)
def test_an_ipv6_client_is_its_network(address: str, network: str) -> None:
    assert network_of(address, 64).startswith(network)


def test_the_prefix_can_be_set() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6", 48) == "2001:db8:1::/48"


@pytest.mark.parametrize("parts", [["principal"], ["ip"], ["principal", "header:X-Tenant"]])
def test_exchanges_of_one_identity_have_one_key(parts: list[str]) -> None:
    keys = Keys(parts, 64)
    seen: dict[Any, str] = {}
    for principal in (None, ALICE, KEYED):
        for peer in ("192.0.2.1", "192.0.2.2"):
            for tenant in ("", "acme", "x" * 5000, "y" * 5000):
                exchange = make_exchange(
                    headers={"X-Tenant": tenant},
                    peer=peer,
                    values={"principal": principal} if principal else {},
                )
                key = keys.text(exchange)
                assert seen.setdefault(keys.identity(exchange), key) == key


def test_no_identity_holds_a_long_value() -> None:
    identity = Keys(["header:X-Tenant"], 64).identity(
        make_exchange(headers={"X-Tenant": "x" * 5000})
    )
    assert len(repr(identity)) < 300
