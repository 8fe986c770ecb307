"""Addresses of clients, and sets of networks."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gatewayd import Networks, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_a_mapped_address_is_the_one_it_stands_for(text: str, expected: str) -> None:
    assert str(parse_address(text)) == expected


@pytest.mark.parametrize("text", ["", "unix", "192.0.2", "192.0.2.1:80", "[::1]"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_address(text)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.0", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::a01:203", False),
    ],
)
def test_networks_hold_addresses_of_their_own_kind(address: str, inside: bool) -> None:
    names = ["10.0.0.0/8", "::ffff:192.0.2.4/126", "2001:db8::/32"]
    networks = Networks(map(ip_network, names))
    assert (parse_address(address) in networks) is inside


def test_no_networks_are_empty() -> None:
    assert not Networks()
    assert parse_address("10.0.0.1") not in Networks()
    assert Networks([ip_network("0.0.0.0/0")])
