"""Who the client is behind trusted proxies."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from gatewayd.address import Networks
from gatewayd.exchange import Peer
from gatewayd.server.forwarded import client_of

if TYPE_CHECKING:
    from collections.abc import Callable

TRUSTED = Networks([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])


def client(**fields: str) -> Peer:
    index = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
    return client_of(Peer("10.0.0.1", 4711, "http", trusted=True), index, TRUSTED)


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.7", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.7", "192.0.2.1"),
        ("10.0.0.9, 10.0.0.7", "10.0.0.9"),
        ("192.0.2.1:1234", "192.0.2.1"),
        ("[2001:db9::1]:1234", "2001:db9::1"),
        ("2001:db9::1", "2001:db9::1"),
        ("::ffff:192.0.2.1, ::ffff:10.0.0.7", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:1234", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ('fe80::1%x" 200 0 "-', "fe80::1"),
        ("[fe80::1%x y]:1234", "fe80::1"),
        ("192.0.2.1, garbage", "10.0.0.1"),
        ("192.0.2.1, garbage, 10.0.0.7", "10.0.0.7"),
        ("", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(chain: str, address: str) -> None:
    assert client(x_forwarded_for=chain).address == address


@pytest.mark.parametrize(
    ("value", "address", "scheme"),
    [
        ("for=192.0.2.1", "192.0.2.1", "http"),
        ('for="192.0.2.1:80";proto=https', "192.0.2.1", "https"),
        ('for=6.6.6.6, for="[2001:db9::1]:4711";proto=HTTPS;by=10.0.0.2', "2001:db9::1", "https"),
        ("for=_hidden", "10.0.0.1", "http"),
        ("for=unknown, for=10.0.0.7", "10.0.0.7", "http"),
        ('For="192.0.2.1:80" ; Proto=https', "192.0.2.1", "https"),
        ("for=6.6.6.6,for=192.0.2.1;", "192.0.2.1", "http"),
        ("for=6.6.6.6, for=192.0.2.1, for=10.0.0.7;proto=https", "192.0.2.1", "https"),
        ("for=10.0.0.9;proto=https, for=10.0.0.7", "10.0.0.9", "http"),
        ("for=192.0.2.1:80", "192.0.2.1", "http"),
        ("for=2001:db9::1", "2001:db9::1", "http"),
        ("for=[2001:db9::1]:80", "2001:db9::1", "http"),
        (r'for="\1\92.0.2.1"', "192.0.2.1", "http"),
        ("", "10.0.0.1", "http"),
    ],
)
def test_forwarded_is_read_the_same_way(value: str, address: str, scheme: str) -> None:
    found = client(forwarded=value)
    assert (found.address, found.scheme) == (address, scheme)


@pytest.mark.parametrize(
    "added",
    [
        'host="x;for=6.6.6.6;y";for=192.0.2.1',
        'host="a,for=6.6.6.6";for=192.0.2.1',
        'host="a,for=6.6.6.6;b";for=192.0.2.1',
        'for=192.0.2.1;host="a, for=6.6.6.6"',
        r'for=192.0.2.1;host="a\", for=6.6.6.6;by=\"b"',
        r'for=192.0.2.1;host="a\\"',
        "xfor=6.6.6.6;for=192.0.2.1",
        'for=192.0.2.1;host="";proto=http',
    ],
)
def test_what_else_a_proxy_tells_is_no_address(added: str) -> None:
    assert client(forwarded=added).address == "192.0.2.1"
    assert client(forwarded=f"for=6.6.6.6, {added}").address == "192.0.2.1"


@pytest.mark.parametrize(
    "claimed",
    [
        '"',
        'for="6.6.6.6',
        'a="\\',
        "for",
        "=",
        ";;",
        'for="6.6.6.6"x',
        "\\",
        'for="',
        '""""',
        "\xff",
    ],
)
def test_nothing_that_a_client_claims_hides_its_address(claimed: str) -> None:
    """Not even by a quote that it leaves open, before what the proxy adds."""
    for added in ("for=192.0.2.1", 'for="192.0.2.1:80";host="b"', 'host="b" ; for=192.0.2.1'):
        assert client(forwarded=f"{claimed}, {added}").address == "192.0.2.1"


@pytest.mark.parametrize(
    "value",
    [
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1 host=a",
        "for = 192.0.2.1",
        'for="192.0.2.1',
        'for=192.0.2.1"',
        r'for="192.0.2.1\"',
        'for="192.0.2.1" host=a',
        "host=for=192.0.2.1",
        "for=192.0.2.1;host",
        'for="[192.0.2.1"',
        "for=192.0.2.1:port",
        "for=(192.0.2.1)",
    ],
)
def test_a_hop_that_is_malformed_is_no_address(value: str) -> None:
    assert client(forwarded=value).address == "10.0.0.1"
    assert client(forwarded=f"for=192.0.2.3, {value}").address == "10.0.0.1"


@pytest.mark.parametrize("text", ['"', "\\", '"\\', '\\\\"', "a", ";", " ", ",", 'a="'])
def test_reading_takes_steps_in_proportion_to_the_text(text: str) -> None:
    """Patterns that go back would take hours for this, not moments."""
    for value in (text * 30_000, f'for="{text * 30_000}', f'{text * 30_000}";for=192.0.2.1'):
        client(forwarded=value)


def test_x_forwarded_for_wins_over_forwarded() -> None:
    found = client(x_forwarded_for="192.0.2.1", forwarded="for=192.0.2.2")
    assert found.address == "192.0.2.1"


@pytest.mark.parametrize(("proto", "scheme"), [("https", "https"), ("HTTP", "http"), ("x", "own")])
@pytest.mark.parametrize(
    "index",
    [lambda proto: {b"x-forwarded-proto": proto},
     lambda proto: {b"x-forwarded-proto": proto, b"x-forwarded-for": b"192.0.2.1"},
     lambda proto: {b"forwarded": b"for=192.0.2.1;proto=" + proto}],
    ids=["proto", "for and proto", "forwarded"],
)  # fmt: skip
def test_the_scheme_is_one_of_two(
    index: Callable[[bytes], dict[bytes, bytes]], proto: str, scheme: str
) -> None:
    peer = Peer("10.0.0.1", 4711, "own", trusted=True)
    assert client_of(peer, index(proto.encode()), TRUSTED).scheme == scheme


def test_a_scheme_alone_leaves_the_address_as_it_is() -> None:
    found = client(x_forwarded_proto="https")
    assert (found.address, found.port) == ("10.0.0.1", 4711)


def test_the_socket_is_remembered() -> None:
    found = client(x_forwarded_for="192.0.2.1")
    assert (found.socket_address, found.port, found.trusted) == ("10.0.0.1", 0, True)


def test_the_certificate_of_the_proxy_is_remembered() -> None:
    peer = Peer("10.0.0.1", 1, trusted=True, certificate={"serialNumber": "01"})
    found = client_of(peer, {b"x-forwarded-for": b"192.0.2.1"}, TRUSTED)
    assert found.certificate == {"serialNumber": "01"}


def test_without_any_field_the_peer_is_the_client() -> None:
    peer = Peer("10.0.0.1", 1, trusted=True)
    assert client_of(peer, {}, TRUSTED) is peer
