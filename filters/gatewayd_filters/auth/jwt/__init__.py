"""Signed tokens (JWT): who issued one, whether it counts now and here, and whom it names."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from gatewayd import AuthMethod, AuthUnavailable, ConfigError, ConfigIssue, InvalidCredential
from gatewayd_filters.auth.jwt.cache import TokenCache, Verified
from gatewayd_filters.auth.jwt.claims import Claims
from gatewayd_filters.auth.jwt.config import JwtConfig
from gatewayd_filters.auth.jwt.key_sets import FixedKeys, PublishedKeys
from gatewayd_filters.auth.jwt.keys import UnusableKey, key_of_pem, key_of_secret, keys_of_set
from gatewayd_filters.auth.jwt.revocation import RevokedTokens
from gatewayd_filters.auth.jwt.token import parse_token

if TYPE_CHECKING:
    from gatewayd import Exchange, Gateway, Principal
    from gatewayd_filters.auth.jwt.keys import VerificationKey
    from gatewayd_filters.auth.jwt.token import Token

__all__ = ["Jwt", "JwtConfig"]

# Values of the field whose tokens are remembered, verified or not: 4 MB at worst.
_MAX_TAKEN = 1024
_MAX_TAKEN_BYTES = 2048


class Jwt(AuthMethod[JwtConfig]):
    """A signed token, verified once and then remembered for as long as it counts."""

    name = "jwt"
    Config = JwtConfig
    challenge = "Bearer"

    def __init__(self, config: JwtConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._field = config.header.lower().encode()
        self._bare = self._field != b"authorization"  # where the scheme may be missing
        self._max_bytes = config.max_token_bytes
        self._forwards = config.forward
        self._taken: dict[bytes, bytes] = {}  # out of values of the field
        self._claims = Claims(config)
        self._now = time.time
        tokens = gateway.metrics.counter(
            "gatewayd_token_cache", "Tokens found, or not found, among the verified.", ("result",)
        )
        self._hits, self._misses = tokens.labels("hit"), tokens.labels("miss")
        fixed = _fixed_keys(config)
        make = partial(_State, config, gateway, fixed)
        self._state = gateway.keep(("jwt", config.model_dump_json(), gateway.store), make)
        self._cache = self._state.cache

    async def start(self) -> None:
        """Fetch the issuer's keys; an outage of the issuer is no reason to fail."""
        state = self._state
        if isinstance(state.keys, PublishedKeys):
            self.gateway.readiness.add("jwks", state.keys.check)
            state.keys.start()
            await state.keys.first_fetch()
        if state.revoked is not None:
            await state.revoked.start()

    def credential(self, exchange: Exchange) -> bytes | None:
        """Return what stands behind ``Bearer``; other schemes are other kinds of credential."""
        headers = exchange.request.headers
        value = headers.value(self._field)
        if value is None:
            return None
        token = self._taken.get(value) or self._take(value)
        if token is not None and not self._forwards:
            headers.remove(self.config.header)
        return token

    def _take(self, value: bytes) -> bytes | None:
        """Take the token out of a field's value, and remember it.

        A connection's requests show one object, which has its hash already, and get one object, for
        which that holds as well when it is looked up among the verified.
        """
        token = value
        if value[:7].lower() == b"bearer ":
            token = value[7:].lstrip(b" ")
        elif not self._bare:
            return None
        if len(value) <= _MAX_TAKEN_BYTES:
            if len(self._taken) >= _MAX_TAKEN:
                self._taken.clear()
            self._taken[value] = token
        return token

    def remembered(self, credential: bytes) -> Principal | None:
        """Return the principal of a token that was verified and still counts."""
        principal = self._cache.get(credential, self._now())
        if principal is not None:
            self._hits.value += 1
        return principal

    async def verify(self, credential: bytes, exchange: Exchange) -> Principal:  # noqa: ARG002
        """Verify a token.

        Raises:
            InvalidCredential: it is not to be believed.
            AuthUnavailable: the issuer's keys, or the list of revoked tokens, are not there.

        """
        self._misses.value += 1
        if len(credential) > self._max_bytes:
            raise InvalidCredential("too_long")
        token = parse_token(credential)
        if token.algorithm not in self.config.algorithms:
            raise InvalidCredential("algorithm")
        if self.config.token_types and token.type not in self.config.token_types:
            raise InvalidCredential("type")
        keys = await self._state.keys.find(token.kid, token.algorithm)
        key = next((one for one in keys if _signed_with(one, token)), None)
        if key is None:
            raise InvalidCredential("signature")
        now = self._now()
        until = self._claims.check(token.claims, now)
        jti = self._checked_jti(token)
        principal = self._claims.principal(token.claims, until)
        # No longer than what it was judged by may be relied on: an outage changes no decision.
        until = min(until, now + min(self.config.cache_seconds, self._state.remaining))
        self._cache.put(credential, Verified(principal, until, key.identity, jti))
        return principal

    def _checked_jti(self, token: Token) -> str | None:
        jti = token.claims.get("jti")
        revoked = self._state.revoked
        if revoked is None:
            return jti if isinstance(jti, str) else None
        if not isinstance(jti, str):
            raise InvalidCredential("missing_claim")
        if not revoked.remaining:
            raise AuthUnavailable("store", "the list of revoked tokens is not there")
        if jti in revoked:
            raise InvalidCredential("revoked", str(token.claims.get("sub", ""))[:255])
        return jti


def _signed_with(key: VerificationKey, token: Token) -> bool:
    return key.verifies(token.algorithm, token.signed, token.signature)


def _fixed_keys(config: JwtConfig) -> FixedKeys | None:
    """Return the keys that stand in the configuration, ``None`` where they are published.

    Raises:
        ConfigError: they cannot be used.

    """
    try:
        if config.secret is not None:
            return FixedKeys([key_of_secret(config.secret, config.algorithms)])
        if config.public_key is not None:
            return FixedKeys([key_of_pem(config.public_key, config.algorithms)])
        if config.jwks is not None:
            return FixedKeys(keys_of_set(config.jwks, config.algorithms, shared=True))
    except UnusableKey as reason:
        names = ("secret", "public_key", "jwks")
        key = next(name for name in names if getattr(config, name) is not None)
        raise ConfigError(ConfigIssue(f"the key cannot be used: {reason}", key=key)) from reason
    return None


class _State:
    """What survives a reload: the issuer's keys, the verified tokens, the revoked ones."""

    def __init__(self, config: JwtConfig, gateway: Gateway, fixed: FixedKeys | None) -> None:
        self.cache = TokenCache(config.cache_size)
        fetches = gateway.metrics.counter(
            "gatewayd_jwks_fetches", "Fetches of key sets.", ("result",)
        )
        self.keys: FixedKeys | PublishedKeys = fixed or PublishedKeys(
            config, gateway.clock, fetches, self._keys_changed
        )
        self.revoked: RevokedTokens | None = None
        if config.revocation:
            if gateway.store is None:
                raise ConfigError(ConfigIssue("needs the store", key="revocation"))
            self.revoked = RevokedTokens(config, gateway.store, gateway.clock, self._tokens_revoked)

    @property
    def remaining(self) -> float:
        """Seconds for which the keys, and the list of revoked tokens, may be relied on."""
        if self.revoked is None:
            return self.keys.remaining
        return min(self.keys.remaining, self.revoked.remaining)

    def _keys_changed(self, identities: frozenset[object]) -> None:
        """Forget what was verified with keys that are gone."""
        self.cache.keep_only(lambda one: one.key in identities)

    def _tokens_revoked(self, ids: frozenset[str]) -> None:
        self.cache.keep_only(lambda one: one.jti not in ids)

    async def close(self) -> None:
        """Stop what runs in the background."""
        if isinstance(self.keys, PublishedKeys):
            await self.keys.close()
        if self.revoked is not None:
            await self.revoked.close()
