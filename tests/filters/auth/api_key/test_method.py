"""api_key: which keys are good, from where, and where they may be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gatewayd import AuthUnavailable, ConfigError, InvalidCredential
from gatewayd.crypto import new_api_key
from gatewayd.testing import make_exchange, make_gateway
from gatewayd_filters.auth.api_key import ApiKeyConfig, ApiKeyMethod
from tests.support.authentication import PEPPER, FakeStore, as_store, key_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.filters.auth.api_key.conftest import World

KEY_ID, SECRET, KEY = new_api_key()
OTHER_ID, OTHER_SECRET, OTHER = new_api_key()


async def verified(method: ApiKeyMethod, key: str, peer: str = "192.0.2.1") -> str:
    principal = await method.verify(key.encode(), make_exchange(peer=peer))
    return principal.id


async def refused(method: ApiKeyMethod, key: bytes, peer: str = "192.0.2.1") -> InvalidCredential:
    assert method.remembered(key) is None
    with pytest.raises(InvalidCredential) as caught:
        await method.verify(key, make_exchange(peer=peer))
    return caught.value


async def test_a_key_becomes_a_principal_with_all_that_is_known_of_it(world: World) -> None:
    world.store.api_keys.put(
        key_record(
            KEY_ID,
            SECRET,
            owner="shop",
            name="nightly import",
            roles=frozenset({"writer"}),
            permissions=frozenset({"orders:write"}),
            scopes=frozenset({"orders"}),
            rate_limit="100/minute",
            expires_at=int((world.now + 60) * 1e6),
        )
    )
    async with world.running() as method:
        assert method.remembered(KEY.encode()) is None
        principal = await method.verify(KEY.encode(), make_exchange())
        assert method.remembered(KEY.encode()) is principal
    assert (principal.id, principal.name, principal.key_id) == ("shop", "nightly import", KEY_ID)
    assert (principal.kind, principal.method) == ("api_key", "api_key")
    assert principal.roles == {"writer"}
    assert principal.permissions == {"orders:write"}
    assert principal.scopes == {"orders"}
    assert principal.rate_limit == "100/minute"
    assert principal.expires_at == world.now + 60


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        pytest.param(b"", "malformed", id="empty"),
        pytest.param(b"gw_", "malformed", id="nothing behind the prefix"),
        pytest.param(KEY.encode() + b", " + KEY.encode(), "malformed", id="two"),
        pytest.param(KEY.encode() + b" ", "malformed", id="with a space"),
        pytest.param(KEY.upper().encode(), "malformed", id="upper case"),
        pytest.param(b"\xff" * 60, "malformed", id="not ASCII"),
        pytest.param(b"gw_" + b"a" * 100_000, "malformed", id="huge"),
        pytest.param(OTHER.encode(), "unknown_key", id="unknown"),
        pytest.param(KEY.replace(SECRET, OTHER_SECRET).encode(), "wrong_secret", id="other secret"),
        pytest.param(KEY.replace(KEY_ID, OTHER_ID).encode(), "unknown_key", id="other id"),
    ],
)
async def test_what_is_no_good_key(world: World, key: bytes, reason: str) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        why = await refused(method, key)
    assert why.reason == reason
    assert SECRET not in str(why) + why.actor


async def test_a_key_expires(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET, expires_at=int((world.now + 60) * 1e6)))
    async with world.running() as method:
        await verified(method, KEY)
        world.now += 59.9
        assert method.remembered(KEY.encode()) is not None
        world.now += 0.1
        assert (await refused(method, KEY.encode())).reason == "expired"


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        (("10.0.0.0/8",), "192.0.2.1", False),
        (("10.0.0.0/8", "2001:db8::/32"), "2001:db8::1", True),
        (("10.0.0.0/8",), "::a00:1", False),
        (("10.0.0.1",), "10.0.0.1", True),
        (("10.0.0.0/8",), "", False),
        (("no network",), "10.0.0.1", False),
    ],
)
async def test_a_key_may_be_bound_to_networks(
    world: World, networks: tuple[str, ...], address: str, allowed: bool
) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET, networks=networks))
    async with world.running() as method:
        if allowed:
            assert await verified(method, KEY, address) == "shop"
            # The address is not known here, so this must not answer.
            assert method.remembered(KEY.encode()) is None
        else:
            assert (await refused(method, KEY.encode(), address)).reason == "network"


@pytest.mark.parametrize("forward", [False, True])
async def test_the_field_goes_upstream_only_where_that_is_said(world: World, forward: bool) -> None:
    exchange = make_exchange(headers={"x-api-KEY": KEY})
    async with world.running(forward=forward) as method:
        assert method.credential(exchange) == KEY.encode()
    assert exchange.request.headers.get("X-API-Key") == (KEY if forward else None)


async def test_a_field_that_stands_there_twice_is_no_key(world: World) -> None:
    exchange = make_exchange(headers=[("X-API-Key", KEY), ("X-API-Key", OTHER)])
    async with world.running() as method:
        shown = method.credential(exchange)
        assert shown is not None
        assert (await refused(method, shown)).reason == "malformed"
    assert "X-API-Key" not in exchange.request.headers


@pytest.mark.parametrize(
    ("query", "shown", "left"),
    [
        ("?api_key=K", b"K", ""),
        ("?a=1&api_key=K&b=2", b"K", "?a=1&b=2"),
        ("?a=1&api%5Fkey=K", b"K", "?a=1"),
        ("?%61pi_key=K&&", b"K", "?&"),
        ("?api_key=%4b", b"K", ""),
        ("?api_key=K&api_key=L", b"K, L", ""),
        ("?api_key", b"", ""),
        ("?API_KEY=K", None, "?API_KEY=K"),
        ("?a=api_key", None, "?a=api_key"),
        ("?", None, "?"),
        ("", None, ""),
    ],
)
async def test_a_parameter_is_cut_from_what_goes_upstream_and_into_logs(
    world: World, query: str, shown: bytes | None, left: str
) -> None:
    exchange = make_exchange(target=f"/orders{query}")
    async with world.running() as method:
        assert method.query_credential(exchange) == shown
    request = exchange.request
    assert request.target == f"/orders{left}"
    assert ("" if request.query is None else f"?{request.query}") == left


async def test_uses_are_written_down_in_batches(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        await verified(method, KEY)
        world.now += 5
        method.remembered(KEY.encode())
        assert world.store.api_keys.touched == {}
        await world.turn(31)
        assert world.store.api_keys.touched == {KEY_ID: int(world.now * 1e6)}
        world.now += 1
        method.remembered(KEY.encode())
    assert world.store.api_keys.touched == {KEY_ID: int(world.now * 1e6)}  # at the end, too


async def test_uses_are_not_lost_in_an_outage(world: World) -> None:
    table = world.store.api_keys
    table.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        await verified(method, KEY)
        table.failure = ConnectionError("away")
        await world.turn(31)
        assert table.touched == {}
        table.failure = None
        await world.turn(31)
        assert table.touched == {KEY_ID: int(world.now * 1e6)}


async def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd_filters.auth.api_key.keys._REMEMBERED_CHECKED", 1)
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    world.store.api_keys.put(key_record(OTHER_ID, OTHER_SECRET))
    async with world.running() as method:
        for _ in range(2):
            await verified(method, KEY)
            await verified(method, OTHER)
        assert method.remembered(OTHER.encode()) is not None
        assert method.remembered(KEY.encode()) is None


async def test_a_wrong_key_is_not_noted_as_used(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        await refused(method, KEY.replace(SECRET, OTHER_SECRET).encode())
        assert world.directory.keys.used == {}


def test_a_shared_store_needs_a_pepper() -> None:
    gateway = make_gateway(store=as_store(FakeStore("mysql://gateway:a@db.test/gateway_db")))
    with pytest.raises(ConfigError, match="pepper: needed"):
        ApiKeyMethod(ApiKeyConfig(), gateway)


async def test_the_pepper_may_come_after_the_start_with_the_first_key(world: World) -> None:
    async with world.running(pepper=None) as method:
        assert (await refused(method, KEY.encode())).reason == "unknown_key"
        world.store.api_keys.put(key_record(KEY_ID, SECRET))
        await world.turn(6)
        with pytest.raises(AuthUnavailable):  # a key without a pepper cannot be judged
            await method.verify(KEY.encode(), make_exchange())
        (world.folder / "pepper").write_text(PEPPER)
        (world.folder / "pepper").chmod(0o600)
        await world.turn(6)
        assert await verified(method, KEY) == "shop"


async def test_routes_that_show_keys_differently_share_what_is_known(world: World) -> None:
    async with world.running(header="X-One") as method:
        config = method.config.model_copy(update={"header": "X-Two"})
        other = ApiKeyMethod(config, world.gateway)
        assert other._directory is method._directory


@pytest.fixture
async def running(world: World) -> AsyncIterator[ApiKeyMethod]:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        yield method


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(key=st.one_of(st.binary(max_size=120), st.from_regex(rb"gw_[a-zA-Z0-9]*_?.*")))
async def test_no_bytes_are_a_key_by_chance(running: ApiKeyMethod, key: bytes) -> None:
    assert (await refused(running, key)).reason in ("malformed", "unknown_key")


@pytest.mark.parametrize("settings", [{"poll_interval": 6.1}, {"redis_interval": 1.1}])
def test_intervals_after_which_a_revoked_key_would_work_too_long(settings: Any) -> None:
    with pytest.raises(ValidationError, match="less than or equal"):
        ApiKeyConfig.model_validate(settings)
