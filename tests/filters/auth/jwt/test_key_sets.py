"""The key set of an issuer: fetched once for all, renewed, relied on while the issuer is away."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from gatewayd import AuthUnavailable, ConfigError, InvalidCredential
from gatewayd.testing import FakeClock, make_gateway
from gatewayd_filters.auth.jwt import Jwt, key_sets
from gatewayd_filters.auth.jwt.keys import UnusableKey, keys_of_set
from tests.filters.auth.jwt.conftest import jwt_method
from tests.support.certificates import Authority
from tests.support.jwks_server import JwksServer
from tests.support.process import free_port
from tests.support.tokens import jwk, jwks, make, private_key

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.filters.auth.jwt.conftest import Caller

ONE = jwk("RS", kid="one")
TWO = jwk("RS-3072", kid="two")
PRIVATE = json.loads(RSAAlgorithm.to_jwk(private_key("RS"))) | {"kid": "one"}
BY_ONE = make(private_key("RS"), "RS256", {"kid": "one"})
BY_TWO = make(private_key("RS-3072"), "RS256", {"kid": "two"})


def method_of(
    url: str, clock: FakeClock | None = None, **settings: Any
) -> AbstractAsyncContextManager[Caller]:
    given = {"algorithms": ["RS256"], "jwks_url": url, "cache_size": 0, **settings}
    return jwt_method(given, make_gateway(clock=clock or FakeClock()))


async def test_verifies_with_published_keys() -> None:
    async with JwksServer(jwks(ONE, TWO)) as issuer, method_of(issuer.url) as caller:
        assert await caller.show(BY_ONE)
        assert await caller.show(BY_TWO)
    assert issuer.fetches == 1


async def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock) as caller:
        issuer.text = jwks(ONE, TWO)
        clock.advance(31)
        assert await caller.show(BY_TWO)
    assert issuer.fetches == 2


async def test_one_fetch_serves_all_who_wait() -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock) as caller:
        issuer.text = jwks(ONE, TWO)
        issuer.answering.clear()
        clock.advance(31)
        shows = [asyncio.create_task(caller.show(BY_TWO)) for _ in range(50)]
        await issuer.asked(2)
        issuer.answering.set()
        assert len(await asyncio.gather(*shows)) == 50
    assert issuer.fetches == 2


async def test_who_comes_during_a_fetch_waits_for_it() -> None:
    """Its key may be in the set that is on its way: it is not unknown yet."""
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock) as caller:
        issuer.text = jwks(ONE, TWO)
        issuer.answering.clear()
        clock.advance(31)
        first = asyncio.create_task(caller.show(BY_TWO))
        await issuer.asked(2)
        second = asyncio.create_task(caller.show(BY_TWO))
        await asyncio.sleep(0)
        issuer.answering.set()
        assert await first
        assert await second
    assert issuer.fetches == 2


async def test_who_comes_while_an_issuer_that_failed_is_asked_again_does_not_wait() -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock) as caller:
        issuer.status = 500
        clock.advance(31)
        with pytest.raises(AuthUnavailable):
            await caller.show(BY_TWO)
        issuer.answering.clear()
        clock.advance(31)
        first = asyncio.create_task(caller.show(BY_TWO))
        await issuer.asked(3)
        with pytest.raises(AuthUnavailable):
            await caller.show(BY_TWO)
        issuer.answering.set()
        with pytest.raises(AuthUnavailable):
            await first


async def test_a_caller_that_gives_up_does_not_take_the_keys_from_others() -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock) as caller:
        issuer.text = jwks(ONE, TWO)
        issuer.answering.clear()
        clock.advance(31)
        first, second = (asyncio.create_task(caller.show(BY_TWO)) for _ in range(2))
        await issuer.asked(2)
        first.cancel()
        issuer.answering.set()
        assert await second


async def test_unknown_names_do_not_make_it_fetch_again_and_again() -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock) as caller:
        clock.advance(31)
        for number in range(20):
            token = make(private_key("RS"), "RS256", {"kid": f"made up {number}"})
            with pytest.raises(InvalidCredential, match="unknown_key"):
                await caller.show(token)
    assert issuer.fetches == 2


async def test_a_key_that_is_gone_counts_no_more() -> None:
    clock = FakeClock()
    async with (
        JwksServer(jwks(ONE)) as issuer,
        method_of(issuer.url, clock, cache_size=10) as caller,
    ):
        await caller.show(BY_ONE)
        issuer.text = jwks(TWO)
        clock.advance(31)
        await caller.show(BY_TWO)  # has the set fetched
        with pytest.raises(InvalidCredential, match="unknown_key"):
            await caller.show(BY_ONE)


async def test_an_issuer_that_was_never_there_is_an_outage() -> None:
    async with method_of(f"http://127.0.0.1:{free_port()}/jwks.json") as caller:
        with pytest.raises(AuthUnavailable, match="jwks"):
            await caller.show(BY_ONE)


async def test_an_issuer_that_comes_later_is_found() -> None:
    clock = FakeClock()
    async with JwksServer("") as issuer:
        issuer.status = 503
        async with method_of(issuer.url, clock) as caller:
            issuer.status, issuer.text = 200, jwks(ONE)
            clock.advance(31)
            assert await caller.show(BY_ONE)


async def test_known_keys_go_on_while_the_issuer_is_away() -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock) as caller:
        issuer.status = 500
        clock.advance(86_000)
        assert await caller.show(BY_ONE)


@pytest.mark.parametrize(
    ("settings", "seconds"), [({}, 86_401), ({"on_outage": "closed"}, 601), ({"max_stale": 60}, 61)]
)
async def test_known_keys_do_not_go_on_for_ever(settings: dict[str, Any], seconds: int) -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock, **settings) as caller:
        issuer.status = 500
        clock.advance(seconds)
        with pytest.raises(AuthUnavailable):
            await caller.show(BY_ONE)


async def test_an_unknown_key_while_the_issuer_is_away_is_no_fault_of_the_callers() -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer, method_of(issuer.url, clock) as caller:
        issuer.status = 500
        clock.advance(31)
        for _ in range(2):  # also within the cooldown
            with pytest.raises(AuthUnavailable):
                await caller.show(BY_TWO)


async def test_readiness_depends_on_keys() -> None:
    gateway = make_gateway()
    settings = {"algorithms": ["RS256"], "jwks_url": f"http://127.0.0.1:{free_port()}/"}
    async with jwt_method(settings, gateway):
        check, gates = gateway.readiness.checks["jwks"]
        with pytest.raises(AuthUnavailable):
            await check()
    assert gates


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        pytest.param(302, {"Location": "/elsewhere"}, "", id="redirect"),
        pytest.param(404, {}, jwks(ONE), id="not found"),
        pytest.param(200, {"Content-Encoding": "gzip"}, jwks(ONE), id="compressed"),
        pytest.param(200, {}, jwks(ONE) + " " * 2000, id="too large"),
        pytest.param(200, {}, "{", id="no JSON"),
        pytest.param(200, {}, "[]", id="no set"),
        pytest.param(200, {}, '{"keys": 7}', id="no list"),
        pytest.param(200, {}, '{"keys": []}', id="empty"),
        pytest.param(200, {}, "[" * 1000, id="deep"),
        pytest.param(200, {}, '{"keys": [' + ",".join(["{}"] * 33) + "]}", id="too many"),
        pytest.param(200, {}, jwks({"kty": "oct", "kid": "one", "k": "c2VjcmV0" * 8}), id="secret"),
        pytest.param(200, {}, jwks(ONE | {"use": "enc"}), id="for encryption"),
        pytest.param(200, {}, jwks(ONE | {"key_ops": ["sign"]}), id="for signing"),
        pytest.param(200, {}, jwks(ONE | {"alg": "RS512"}), id="another algorithm"),
        pytest.param(200, {}, jwks(ONE | {"kid": 7}), id="no name"),
        pytest.param(200, {}, jwks(ONE | {"n": "!"}), id="no number"),
        pytest.param(200, {}, jwks(PRIVATE), id="private key"),
        pytest.param(200, {}, jwks(ONE | {"e": "Aw"}), id="small exponent"),
        pytest.param(200, {}, jwks(jwk("RS-1024", kid="one")), id="small key"),
        pytest.param(200, {}, jwks(jwk("ES256", kid="one")), id="another type"),
    ],
)
async def test_what_is_no_usable_key_set(status: int, headers: dict[str, str], text: str) -> None:
    async with JwksServer(text) as issuer:
        issuer.status, issuer.headers = status, headers
        async with method_of(issuer.url, max_bytes=2000) as caller:
            with pytest.raises(AuthUnavailable):
                await caller.show(BY_ONE)


async def test_other_keys_of_a_set_do_not_matter() -> None:
    others: list[Any] = [{"kty": "new"}, {"kty": "RSA"}, 7, jwk("RS-1024"), {"kty": ["RSA"]}]
    async with JwksServer(jwks(*others, ONE)) as issuer, method_of(issuer.url) as caller:
        assert await caller.show(BY_ONE)


async def test_a_slow_issuer_costs_no_more_than_the_time_out() -> None:
    async with JwksServer(jwks(ONE)) as issuer:
        issuer.answering.clear()
        async with method_of(issuer.url, timeout=0.05) as caller:
            with pytest.raises(AuthUnavailable):
                await caller.show(BY_ONE)


async def test_keys_survive_a_reload() -> None:
    gateway = make_gateway()
    async with JwksServer(jwks(ONE)) as issuer:
        settings = {"algorithms": ["RS256"], "jwks_url": issuer.url}
        async with jwt_method(settings, gateway) as before:
            principal = await before.show(BY_ONE)
            method = Jwt(before.method.config, gateway)
            method._now = before.method._now
            await method.start()
            assert method.remembered(BY_ONE) is principal
    assert issuer.fetches == 1


async def test_an_issuer_that_is_gone_is_an_outage_and_its_keys_go_on() -> None:
    clock = FakeClock()
    async with JwksServer(jwks(ONE)) as issuer:
        caller_of = method_of(issuer.url, clock)
        caller = await caller_of.__aenter__()
    try:
        clock.advance(31)
        with pytest.raises(AuthUnavailable):
            await caller.show(BY_TWO)
        assert await caller.show(BY_ONE)
    finally:
        await caller_of.__aexit__(None, None, None)


async def test_an_issuer_that_starts_later_is_found_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_sets, "RETRY", 0.01)
    async with JwksServer(jwks(ONE)) as issuer:
        issuer.status = 503
        async with method_of(issuer.url) as caller:  # no token asks: the clock stands still
            issuer.status = 200
            fetches = issuer.fetches
            await issuer.asked(fetches + 1)
            async with asyncio.timeout(10):
                while not caller.method._state.remaining:  # noqa: ASYNC110  # the answer is on its way
                    await asyncio.sleep(0)
            assert await caller.show(BY_ONE)


async def test_a_token_is_remembered_no_longer_than_its_key_is_relied_on() -> None:
    async with (
        JwksServer(jwks(ONE)) as issuer,
        method_of(issuer.url, cache_size=10, on_outage="closed", refresh=10) as caller,
    ):
        await caller.show(BY_ONE)
        caller.now += 21
        assert caller.method.remembered(BY_ONE) is None


@given(
    st.dictionaries(
        st.sampled_from([*ONE, "crv", "x", "y", "k", "alg", "use", "key_ops", "d", "oth"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.text()),
    ),
    st.sampled_from([ONE, jwk("ES256"), jwk("Ed25519"), {}]),
)
def test_no_key_fails_otherwise_than_being_unusable(
    members: dict[str, Any], key: dict[str, Any]
) -> None:
    try:
        keys = keys_of_set(jwks(key | members), ["RS256", "ES256", "EdDSA"], shared=False)
    except UnusableKey:
        return
    assert all(one.algorithms <= {"RS256", "ES256", "EdDSA"} for one in keys)


def server_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    return context


async def test_an_issuer_with_a_private_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with (
        JwksServer(jwks(ONE), server_context(authority)) as issuer,
        method_of(issuer.url, jwks_ca=str(authority.file)) as caller,
    ):
        assert await caller.show(BY_ONE)


async def test_an_issuer_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with (
        JwksServer(jwks(ONE), server_context(authority)) as issuer,
        method_of(issuer.url) as caller,
    ):
        with pytest.raises(AuthUnavailable):
            await caller.show(BY_ONE)
        assert issuer.fetches == 0


async def test_authorities_that_cannot_be_read_are_an_error_of_the_configuration() -> None:
    method = method_of("https://127.0.0.1:1/jwks.json", jwks_ca="/nowhere.pem")
    with pytest.raises(ConfigError, match="jwks_ca"):
        async with method:
            pass
