"""ip_filter: which clients may pass."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatewayd import Peer, Reject
from gatewayd.testing import Recorder, make_exchange, running
from gatewayd_filters.ip_filter import IpFilter, IpFilterConfig

PRIVATE = {"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.6.6.0/24", "10.1.2.3"]}


@pytest.mark.parametrize(
    ("settings", "address", "passes"),
    [
        pytest.param({}, "203.0.113.1", True, id="no rules"),
        pytest.param({}, "", True, id="no rules, unix socket"),
        pytest.param(PRIVATE, "10.1.2.4", True, id="allowed"),
        pytest.param(PRIVATE, "10.1.2.3", False, id="denied address within an allowed network"),
        pytest.param(PRIVATE, "10.6.6.255", False, id="denied network within an allowed one"),
        pytest.param(PRIVATE, "10.6.7.0", True, id="just above a denied network"),
        pytest.param(PRIVATE, "11.0.0.0", False, id="just above an allowed network"),
        pytest.param(PRIVATE, "2001:db8::1", True, id="IPv6 allowed"),
        pytest.param(PRIVATE, "2001:db9::1", False, id="IPv6 not allowed"),
        pytest.param(PRIVATE, "::ffff:10.1.2.4", True, id="mapped IPv4 allowed"),
        pytest.param(PRIVATE, "::ffff:10.1.2.3", False, id="mapped IPv4 denied"),
        pytest.param(PRIVATE, "not an address", False, id="what cannot be judged"),
        pytest.param({"deny": ["10.0.0.0/8"]}, "192.0.2.1", True, id="only deny"),
        pytest.param({"deny": ["10.0.0.0/8"]}, "", False, id="only deny, unix socket"),
        pytest.param({"deny": ["::ffff:10.0.0.0/104"]}, "10.0.0.1", False, id="mapped network"),
        pytest.param({"deny": ["::/0"]}, "10.0.0.1", True, id="all IPv6 is not IPv4"),
        pytest.param({"deny": ["0.0.0.0/0"]}, "2001:db8::1", True, id="all IPv4 is not IPv6"),
        pytest.param({"allow": ["0.0.0.0/0"]}, "192.0.2.1", True, id="all IPv4"),
        pytest.param({"allow": ["fe80::/10"]}, "fe80::1%eth0", True, id="scoped"),
        # 10.0.0.1 and this address are the same number.
        pytest.param({"deny": ["10.0.0.1"]}, "::a00:1", True, id="versions are kept apart"),
    ],
)
async def test_judges_the_address(settings: dict[str, object], address: str, passes: bool) -> None:
    upstream = Recorder()
    async with running(IpFilter, settings) as ip_filter:
        for _ in range(2):  # the second time from memory
            if passes:
                assert (await ip_filter(make_exchange(peer=address), upstream)).status == 200
            else:
                with pytest.raises(Reject) as caught:
                    await ip_filter(make_exchange(peer=address), upstream)
                assert (caught.value.status, caught.value.code) == (403, "ip_denied")
    assert bool(upstream.exchanges) is passes


async def test_judges_the_client_and_not_the_proxy() -> None:
    peer = Peer("203.0.113.1", trusted=True, socket_address="10.0.0.1")
    async with running(IpFilter, {"allow": ["10.0.0.0/8"]}) as ip_filter:
        with pytest.raises(Reject):
            await ip_filter(make_exchange(peer=peer), Recorder())


async def test_remembers_a_bounded_number_of_addresses() -> None:
    async with running(IpFilter, {"allow": ["2001:db8::/32"]}) as ip_filter:
        for number in range(5000):
            await ip_filter(make_exchange(peer=f"2001:db8::{number:x}"), Recorder())
        assert ip_filter._may_pass.cache_info().currsize == 4096


def test_refuses_what_is_no_network() -> None:
    with pytest.raises(ValidationError):
        IpFilterConfig.model_validate({"allow": ["10.0.0.0/33"]})
