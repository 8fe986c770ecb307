"""jwt: keys of all kinds, what a token tells of its caller, what is remembered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gatewayd import AuthUnavailable, ConfigError, InvalidCredential
from gatewayd.store.settings import StoreConfig
from gatewayd.testing import FakeClock, make_exchange, make_gateway
from gatewayd_filters.auth.jwt import Jwt, JwtConfig
from gatewayd_filters.auth.jwt.cache import TokenCache, Verified
from tests.filters.auth.jwt.conftest import jwt_method
from tests.support.tokens import NOW, SECRET, by_hand, jwk, jwks, make, private_key, public_pem

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"RS": "RS", "PS": "RS", "ES256": "ES256", "ES384": "ES384", "ES512": "ES512"}


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_shared_secrets(algorithm: str) -> None:
    async with jwt_method({"algorithms": [algorithm]}) as caller:
        assert await caller.show(make(SECRET, algorithm))


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        *((f"{family}{bits}", "RS") for family in ("RS", "PS") for bits in (256, 384, 512)),
        *((name, name) for name in ("ES256", "ES384", "ES512")),
        ("EdDSA", "Ed25519"),
        ("EdDSA", "Ed448"),
    ],
)
async def test_key_pairs(algorithm: str, kind: str) -> None:
    settings = {"algorithms": [algorithm], "public_key": public_pem(kind)}
    async with jwt_method(settings) as caller:
        assert await caller.show(make(private_key(kind), algorithm))


async def test_several_shared_secrets() -> None:
    secrets = {"old": "o" * 32, "new": "n" * 32}
    from tests.support.tokens import base64url

    key_set = jwks(
        *({"kty": "oct", "kid": kid, "k": base64url(secret.encode()).decode()}
          for kid, secret in secrets.items())
    )  # fmt: skip
    async with jwt_method({"jwks": key_set}) as caller:
        for kid, secret in secrets.items():
            assert await caller.show(make(secret, "HS256", {"kid": kid}))


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithms": []},
        {"algorithms": ["none"], "secret": SECRET},
        {"algorithms": ["HS256"]},
        {"algorithms": ["HS256", "RS256"], "secret": SECRET},
        {"algorithms": ["RS256"], "secret": SECRET},
        {"algorithms": ["HS256"], "public_key": public_pem("RS")},
        {"algorithms": ["HS256"], "jwks_url": "https://id.example.org/jwks"},
        {"algorithms": ["RS256"], "jwks_url": "http://id.example.org/jwks"},
        {"algorithms": ["RS256"], "jwks_url": "http://127.0.0.1.example.org/jwks"},
        {"algorithms": ["RS256"], "jwks_url": "file:///etc/passwd", "jwks_allow_http": True},
        {"algorithms": ["RS256"], "jwks_url": "https://user:password@id.example.org/jwks"},
        {"algorithms": ["RS256"], "public_key": public_pem("RS"), "jwks": jwks(jwk("RS"))},
        {"algorithms": ["HS256"], "secret": SECRET, "roles_claim": "a..b"},
        {"algorithms": ["HS256"], "secret": SECRET, "issuer": ""},
        {"algorithms": ["HS256"], "secret": SECRET, "audience": ["orders", ""]},
        {"algorithms": ["HS256"], "secret": SECRET, "required_claims": [""]},
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JwtConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://id.example.org/jwks", False),
        ("http://localhost:9400/jwks", False),
        ("http://[::1]:9400/jwks", False),
        ("http://id.internal/jwks", True),
    ],
)
def test_where_keys_may_be_published(url: str, allowed: bool) -> None:
    config = JwtConfig(algorithms=("RS256",), jwks_url=url, jwks_allow_http=allowed)
    assert config.jwks_url == url


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"algorithms": ["HS256"], "secret": "s" * 31}, "secret"),
        ({"algorithms": ["HS384"], "secret": "s" * 47}, "secret"),
        ({"algorithms": ["HS512"], "secret": "s" * 63}, "secret"),
        ({"algorithms": ["HS256"], "secret": public_pem("RS")}, "secret"),
        ({"algorithms": ["HS256"], "secret": "ssh-rsa " + "A" * 40}, "secret"),
        ({"algorithms": ["RS256"], "public_key": public_pem("RS-1024")}, "public_key"),
        ({"algorithms": ["RS256"], "public_key": public_pem("ES256")}, "public_key"),
        ({"algorithms": ["ES384"], "public_key": public_pem("ES256")}, "public_key"),
        ({"algorithms": ["RS256"], "public_key": "no key"}, "public_key"),
        ({"algorithms": ["RS256"], "jwks": "{}"}, "jwks"),
        ({"algorithms": ["RS256"], "jwks": jwks(jwk("RS-1024"))}, "jwks"),
    ],
)
def test_weak_and_wrong_keys_are_refused_at_start(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Jwt(JwtConfig.model_validate(settings), make_gateway())
    (issue,) = caught.value.issues
    assert issue.key == key
    assert str(settings[key]) not in str(issue)


def test_secrets_are_in_no_repr() -> None:
    assert SECRET not in repr(JwtConfig(algorithms=("HS256",), secret=SECRET))


async def test_what_a_token_tells_of_its_caller() -> None:
    settings = {"roles_claim": "realm_access.roles"}
    token = make(
        name="Ada", email="ada@example.org", scope="read write", permissions=["servers:read"],
        realm_access={"roles": ["admin", "viewer"]},
    )  # fmt: skip
    async with jwt_method(settings) as caller:
        principal = await caller.show(token)
    assert (principal.id, principal.name, principal.email) == ("ada", "Ada", "ada@example.org")
    assert principal.roles == {"admin", "viewer"}
    assert principal.permissions == {"servers:read"}
    assert principal.scopes == {"read", "write"}
    assert (principal.method, principal.kind, principal.expires_at) == ("jwt", "user", NOW + 60)


@pytest.mark.parametrize(
    ("path", "claims", "roles"),
    [
        ("roles", {"roles": ["a"]}, {"a"}),
        ("roles", {"roles": "a b"}, {"a", "b"}),
        ("roles", {"roles": []}, set()),
        ("roles", {}, set()),
        ("a.b.c", {"a": {"b": {"c": ["x"]}}}, {"x"}),
        ("a.b.c", {"a": {"b": 7}}, set()),
        ("a.b.c", {"a": ["b"]}, set()),
        (["https://example.org/roles"], {"https://example.org/roles": ["x"]}, {"x"}),
    ],
)
async def test_where_roles_are(path: Any, claims: dict[str, Any], roles: set[str]) -> None:
    async with jwt_method({"roles_claim": path}) as caller:
        assert (await caller.show(make(**claims))).roles == roles


@pytest.mark.parametrize(
    ("value", "credential"),
    [
        ("Bearer abc", b"abc"),
        ("bearer abc", b"abc"),
        ("BEARER  abc", b"abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("abc", None),
        ("Bearerabc", None),
    ],
)
async def test_what_is_a_token(value: str, credential: bytes | None) -> None:
    async with jwt_method() as caller:
        exchange = make_exchange(headers={"Authorization": value})
        assert caller.method.credential(exchange) == credential
        assert exchange.request.headers.get("Authorization") == value


async def test_another_field_needs_no_scheme() -> None:
    async with jwt_method({"header": "X-Token"}) as caller:
        assert caller.method.credential(make_exchange(headers={"X-Token": "abc"})) == b"abc"


async def test_the_token_may_end_at_the_gateway() -> None:
    async with jwt_method({"forward": False}) as caller:
        exchange = make_exchange(headers={"Authorization": "Bearer abc"})
        assert caller.method.credential(exchange) == b"abc"
        assert "Authorization" not in exchange.request.headers


async def test_a_verified_token_is_remembered() -> None:
    gateway = make_gateway()
    token = make()
    async with jwt_method(gateway=gateway) as caller:
        assert caller.method.remembered(token) is None
        principal = await caller.show(token)
        assert caller.method.remembered(token) is principal
    counts = gateway.metrics.counter("gatewayd_token_cache", "", ("result",))
    assert (counts.labels("hit").value, counts.labels("miss").value) == (1, 1)


async def test_a_token_is_remembered_no_longer_than_the_setting_says() -> None:
    async with jwt_method({"cache_seconds": 10}) as caller:
        token = make()
        await caller.show(token)
        caller.now += 10
        assert caller.method.remembered(token) is None


async def test_what_is_refused_is_not_remembered() -> None:
    async with jwt_method() as caller:
        token = make("another secret that has as many bytes")
        for _ in range(2):
            with pytest.raises(InvalidCredential):
                await caller.show(token)
        assert len(caller.method._cache) == 0


def verified(until: float = NOW + 60) -> Verified:
    return Verified(principal=object(), until=until, key=None, jti=None)  # type: ignore[arg-type]


def test_the_cache_is_bounded() -> None:
    cache = TokenCache(10)
    for number in range(100):
        cache.put(b"%d" % number, verified())
        assert len(cache) <= 10


def test_what_is_used_stays_in_the_cache() -> None:
    cache = TokenCache(10)
    cache.put(b"used", verified())
    for number in range(100):
        cache.put(b"%d" % number, verified())
        assert cache.get(b"used", NOW) is not None


def test_a_cache_of_none_keeps_nothing() -> None:
    cache = TokenCache(0)
    cache.put(b"one", verified())
    assert cache.get(b"one", NOW) is None


def test_what_no_longer_counts_is_forgotten() -> None:
    cache = TokenCache(10)
    cache.put(b"one", verified(NOW))
    assert cache.get(b"one", NOW) is None
    assert len(cache) == 0


def test_tokens_are_forgotten_however_long_ago_they_were_used() -> None:
    cache = TokenCache(4)
    for number in range(4):
        cache.put(b"%d" % number, verified())
    cache.keep_only(lambda _: False)
    assert [cache.get(b"%d" % number, NOW) for number in range(4)] == [None] * 4


class Revocations:
    """The store's list of revoked tokens."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.away = False
        self.reads = 0
        self.counting_since = 0.0

    async def active(self, now: int) -> set[str]:
        self.reads += 1
        self.counting_since = now / 1e6
        if self.away:
            raise OSError("the store is away")
        return set(self.ids)


@pytest.fixture(autouse=True)
def _files_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class FakeStore:
    """A store that has nothing else."""

    def __init__(self) -> None:
        self.revoked_tokens = Revocations()
        self.config = StoreConfig()

    async def start(self) -> None:
        pass


async def test_revoked_tokens_are_refused_also_when_remembered() -> None:
    store: Any = FakeStore()
    gateway = make_gateway(store=store)
    async with jwt_method({"revocation": True}, gateway) as caller:
        token, other = make(jti="one"), make(jti="two")
        await caller.show(token)
        await caller.show(other)
        store.revoked_tokens.ids = {"one"}
        await caller.method._state.revoked.read()  # type: ignore[union-attr]
        with pytest.raises(InvalidCredential, match="revoked"):
            await caller.show(token)
        assert caller.method.remembered(other)


async def test_where_tokens_can_be_revoked_they_have_an_id() -> None:
    store: Any = FakeStore()
    async with jwt_method({"revocation": True}, make_gateway(store=store)) as caller:
        with pytest.raises(InvalidCredential, match="missing_claim"):
            await caller.show(make())
        with pytest.raises(InvalidCredential, match="missing_claim"):
            await caller.show(by_hand({"alg": "HS256"}, {"sub": "a", "exp": NOW + 9, "jti": 7}))


async def test_without_the_list_nothing_can_be_judged() -> None:
    store: Any = FakeStore()
    store.revoked_tokens.away = True
    async with jwt_method({"revocation": True}, make_gateway(store=store)) as caller:
        with pytest.raises(AuthUnavailable, match="store"):
            await caller.show(make(jti="one"))


@pytest.mark.parametrize(
    ("policy", "seconds", "usable"),
    [
        ("stale", 86_399, True),
        ("stale", 86_400, False),
        ("closed", 14, True),
        ("closed", 15, False),
    ],
)
async def test_an_old_list_is_relied_on_for_a_while(
    policy: str, seconds: int, usable: bool
) -> None:
    store: Any = FakeStore()
    clock = FakeClock()
    gateway = make_gateway(store=store, clock=clock)
    settings = {"revocation": True, "on_outage": policy}
    async with jwt_method(settings, gateway) as caller:
        store.revoked_tokens.away = True
        clock.advance(seconds)
        await caller.method._state.revoked.read()  # type: ignore[union-attr]
        if usable:
            assert await caller.show(make(jti="one"))
        else:
            with pytest.raises(AuthUnavailable):
                await caller.show(make(jti="one"))


async def test_a_token_is_remembered_no_longer_than_the_list_is_relied_on() -> None:
    store: Any = FakeStore()
    settings = {"revocation": True, "on_outage": "closed"}
    async with jwt_method(settings, make_gateway(store=store)) as caller:
        token = make(jti="one")
        await caller.show(token)
        caller.now += 16
        assert caller.method.remembered(token) is None


async def test_a_token_stays_revoked_for_as_long_as_leeway_lets_others_count() -> None:
    store: Any = FakeStore()
    before = time.time()
    async with jwt_method({"revocation": True, "leeway": 60}, make_gateway(store=store)):
        assert before - 60 <= store.revoked_tokens.counting_since + 0.001 <= time.time() - 59


async def test_two_generations_read_the_list_once() -> None:
    store: Any = FakeStore()
    gateway = make_gateway(store=store)
    async with jwt_method({"revocation": True}, gateway) as caller:
        again = Jwt(caller.method.config, gateway)
        await asyncio.gather(again.start(), again.start())
        assert store.revoked_tokens.reads == 1
