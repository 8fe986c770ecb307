from __future__ import annotations

import pytest

from gatewayd.testing import make_exchange
from gatewayd_filters.balancers.client_key import cookie, key_reader


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id=5", b"5"),
        ("a=b; id=5", b"5"),
        ("a=b;id=5;c=d", b"5"),
        ("id=5; id=6", b"5"),
        ("id=", b""),
        ("id=a=b", b"a=b"),
        ("xid=5", None),
        ("xid=5; id=6", b"6"),
        ("a=id=5", None),
        ("id", None),
        ("", None),
    ],
)
def test_cookie(field: str, value: bytes | None) -> None:
    assert cookie(make_exchange(headers={"Cookie": field}), b"id=") == value


def test_no_cookie() -> None:
    assert cookie(make_exchange(), b"id=") is None


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("/?id=5", b"5"),
        ("/?a=b&id=5&id=6", b"5"),
        ("/?id=%41", b"%41"),
        ("/?id=", b""),
        ("/?xid=5&idx=6&id", None),
        ("/?", None),
        ("/", None),
    ],
)
def test_query(target: str, value: bytes | None) -> None:
    assert key_reader("query:id")(make_exchange(target=target)) == value


def test_address_and_field() -> None:
    exchange = make_exchange(peer="2001:db8::1", headers={"X-User": "me"})
    assert key_reader("ip")(exchange) == b"2001:db8::1"
    assert key_reader("header:x-USER")(exchange) == b"me"
    assert key_reader("header:X-Other")(exchange) is None
