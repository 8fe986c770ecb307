from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import ConfigError, Peer, Response
from gatewayd.testing import make_exchange
from tests.support.balancing import make_balancer, make_instances

if TYPE_CHECKING:
    from gatewayd import Balancer, Instance

SECRET = "not-a-secret-in-a-test"


def sticky(**settings: Any) -> Balancer:
    return make_balancer("sticky", **{"secret": SECRET, "fallback": "round_robin", **settings})


def cookie_for(balancer: Balancer, instance: Instance, sent: str = "", scheme: str = "http") -> str:
    """Return the Set-Cookie field of an answer to a client that sends cookies; maybe empty."""
    exchange = make_exchange(
        headers={"Cookie": sent} if sent else {}, peer=Peer("192.0.2.1", scheme=scheme)
    )
    response = Response(200)
    balancer.answered(instance, exchange, response)
    return response.headers.get("Set-Cookie") or ""


def pair(field: str) -> str:
    return field.partition(";")[0]


def test_a_client_stays_with_its_instance() -> None:
    instances, balancer = make_instances([1] * 5), sticky()
    home = balancer.pick(instances, make_exchange())
    sent = f"theme=dark; {pair(cookie_for(balancer, home))}"
    again = make_exchange(headers={"Cookie": sent})
    assert {balancer.pick(instances, again) for _ in range(10)} == {home}
    assert cookie_for(balancer, home, sent) == "", "it is not set again"


def test_nodes_with_the_same_secret_agree() -> None:
    instances = make_instances([1] * 5)
    field = cookie_for(sticky(), instances[3])
    exchange = make_exchange(headers={"Cookie": pair(field)})
    assert sticky().pick(instances, exchange) is instances[3]


def test_the_cookie_tells_nothing_of_the_address() -> None:
    (instance,) = make_instances([1])
    value = pair(cookie_for(sticky(), instance)).partition("=")[2]
    other = pair(cookie_for(sticky(secret="another-secret-of-tests"), instance)).partition("=")[2]
    assert re.fullmatch("[0-9a-f]{24}", value)
    assert value != other, "it depends on the secret, so it cannot be computed from an address"


@pytest.mark.parametrize("value", ["", "10.0.0.1:80", "0" * 24, "f" * 5000])
def test_a_made_up_cookie_is_as_good_as_none(value: str) -> None:
    instances, balancer = make_instances([1] * 3), sticky(cookie="home")
    sent = f"home={value}"
    exchange = make_exchange(headers={"Cookie": sent})
    picks = [balancer.pick(instances, exchange) for _ in range(3)]
    assert set(picks) == set(instances)
    assert cookie_for(balancer, picks[0], sent).startswith("home=")


def test_a_client_whose_instance_is_away_moves_and_stays_there() -> None:
    instances, balancer = make_instances([1] * 3), sticky()
    sent = pair(cookie_for(balancer, instances[0]))
    moved = balancer.pick(instances[1:], make_exchange(headers={"Cookie": sent}))
    assert moved in instances[1:]
    sent = pair(cookie_for(balancer, moved, sent))
    assert balancer.pick(instances, make_exchange(headers={"Cookie": sent})) is moved


@pytest.mark.parametrize(
    ("settings", "scheme", "attributes"),
    [
        ({}, "http", "Path=/; HttpOnly; SameSite=Lax"),
        ({}, "https", "Path=/; HttpOnly; SameSite=Lax; Secure"),
        ({"secure": False}, "https", "Path=/; HttpOnly; SameSite=Lax"),
        ({"secure": True, "max_age": 60}, "http",
         "Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"),
        ({"same_site": "none", "path": "/shop"}, "http",
         "Path=/shop; HttpOnly; SameSite=None; Secure"),
    ],
)  # fmt: skip
def test_attributes(settings: dict[str, Any], scheme: str, attributes: str) -> None:
    (instance,) = make_instances([1])
    field = cookie_for(sticky(**settings), instance, scheme=scheme)
    assert field.partition("; ")[2] == attributes


def test_services_do_not_take_each_others_cookies() -> None:
    one, other = make_instances([1, 1])
    other.service = "images"
    fields = [cookie_for(sticky(), instance) for instance in (one, other)]
    names = {field.partition("=")[0] for field in fields}
    assert len(names) == 2
    assert all(re.fullmatch("gatewayd-[0-9a-f]{8}", name) for name in names)


def test_new_clients_go_where_the_fallback_says() -> None:
    instances = make_instances([1, 1, 1], active=[4, 0, 4])
    balancer = sticky(fallback="least_connections")
    assert {balancer.pick(instances, make_exchange()) for _ in range(9)} == {instances[1]}


def test_the_fallback_learns_from_attempts() -> None:
    fast, slow = instances = make_instances([1, 1])
    balancer = sticky(fallback={"name": "p2c", "decay": 5})
    balancer.done(fast, 0.01, None)
    balancer.done(slow, 1.0, None)
    assert {balancer.pick(instances, make_exchange()) for _ in range(20)} == {fast}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"secret": "short"}, r"strategy\.secret: "),
        ({"fallback": "consistent_hash"}, r"strategy\.fallback: .*keeps clients"),
        ({"fallback": "roundrobin"}, r"strategy\.fallback: .*did you mean 'round_robin'"),
        ({"fallback": {"name": "p2c", "decai": 5}},
         r"strategy\.fallback\.decai: unknown key \(did you mean 'decay'\?\)"),
        ({"cookie": "a b"}, r"strategy\.cookie: "),
        ({"path": "/; Domain=example.org"}, r"strategy\.path: "),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        sticky(**settings)
    assert str(settings.get("secret")) not in str(caught.value)


def test_the_secret_is_in_no_repr() -> None:
    assert SECRET not in repr(sticky().config)
