"""The principal: what the upstream is told of it."""

from __future__ import annotations

import pytest

from gatewayd import Headers, Principal
from gatewayd.config.schema import ServerConfig
from gatewayd.principal import IDENTITY_FIELDS

EVERYTHING = Principal(
    id="u-1",
    method="jwt",
    name="Jane",
    email="jane@example.org",
    roles=frozenset({"b", "a"}),
    permissions=frozenset({"orders:read"}),
    scopes=frozenset({"s"}),
    key_id="k-1",
)


def forwarded(principal: Principal) -> dict[str, str]:
    return dict(Headers.of_lines(principal.to_forward_headers()))


def test_everything_that_is_known_is_told() -> None:
    assert forwarded(EVERYTHING) == {
        "X-User-Id": "u-1",
        "X-User-Name": "Jane",
        "X-User-Email": "jane@example.org",
        "X-User-Roles": "a,b",
        "X-User-Permissions": "orders:read",
        "X-User-Scopes": "s",
        "X-Api-Key-Id": "k-1",
        "X-Auth-Method": "jwt",
    }


def test_every_field_is_one_that_clients_cannot_send() -> None:
    told = {name.lower() for name, _ in EVERYTHING.to_forward_headers()}
    assert told == IDENTITY_FIELDS
    stripped = {name.lower().encode() for name in ServerConfig().identity_headers}
    assert stripped >= IDENTITY_FIELDS


def test_what_is_not_known_is_not_told() -> None:
    assert forwarded(Principal(id="u-1", method="jwt")) == {
        "X-User-Id": "u-1",
        "X-Auth-Method": "jwt",
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a b", "a%20b"),
        ("a\r\nX-User-Roles: admin", "a%0D%0AX-User-Roles:%20admin"),
        ("a\0b", "a%00b"),
        ("admin,root", "admin%2Croot"),
        ("50%", "50%25"),
        ("Zoë", "Zo%C3%AB"),
        ("\ud800", "%3F"),
    ],
)
def test_no_value_leaves_its_place(value: str, told: str) -> None:
    principal = Principal(id=value, method="jwt", roles=frozenset({value}))
    assert forwarded(principal)["X-User-Id"] == told
    assert forwarded(principal)["X-User-Roles"] == told


def test_the_fields_are_made_once() -> None:
    assert EVERYTHING.forward_headers is EVERYTHING.forward_headers


def test_claims_are_in_no_repr() -> None:
    assert "secret" not in repr(Principal(id="u", method="jwt", claims={"a": "secret"}))
