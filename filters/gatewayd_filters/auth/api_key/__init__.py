"""API keys: ``gw_<id>_<secret>``, known to the gateway by a keyed hash of the secret.

Checking one takes no wait: all keys are in memory. The hash costs 1.3 us by itself and, in a busy
gateway, 10 us, as OpenSSL's tables are in no cache by then; so keys that were good are remembered
for as long as what is known of them does not change.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from gatewayd import (
    AuthMethod,
    ConfigError,
    ConfigIssue,
    InvalidCredential,
    is_embedded,
    split_api_key,
    verify_api_key,
)
from gatewayd_filters.auth.api_key.config import ApiKeyConfig
from gatewayd_filters.auth.api_key.directory import KeyDirectory

if TYPE_CHECKING:
    from gatewayd import Exchange, Gateway, Principal
    from gatewayd_filters.auth.api_key.known import KnownKey

__all__ = ["ApiKeyConfig", "ApiKeyMethod"]

_NO_HASH = bytes(32)  # compared with where a key is unknown, so that this takes as long
# How a key is shown has nothing to do with what is known of it.
_SHOWN_HOW = {
    name: ApiKeyConfig.model_fields[name].default for name in ("header", "query", "forward")
}


class ApiKeyMethod(AuthMethod[ApiKeyConfig]):
    """A key that was made for a client, and that the store knows."""

    name = "api_key"
    Config = ApiKeyConfig
    challenge = "ApiKey"

    def __init__(self, config: ApiKeyConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        store, redis = gateway.store, gateway.redis
        if config.pepper is None and store is not None and not is_embedded(store):
            message = "needed, as the store is shared: 32 or more random characters"
            raise ConfigError(ConfigIssue(message, key="pepper"))
        make = partial(
            KeyDirectory, config, store, redis, clock=gateway.clock, metrics=gateway.metrics
        )
        same = config.model_copy(update=_SHOWN_HOW)
        self._directory = gateway.keep(("api_key", same, store, redis), make)
        self._keys = self._directory.keys
        self._clock = gateway.clock
        self._field = config.header.lower().encode()
        self._parameter = config.query.encode()
        self._now = time.time
        cache = gateway.metrics.counter(
            "gatewayd_api_key_cache",
            "API keys found, or not found, among the checked.",
            ("result",),
        )
        self._hits, self._misses = cache.labels("hit"), cache.labels("miss")

    async def start(self) -> None:
        """Read the keys; an outage of the store is no reason to fail."""
        if (store := self.gateway.store) is not None:
            # Whether keys can be judged without it is what counts, and is checked by itself.
            self.gateway.readiness.add("store", store.check, gates=False)
        if (redis := self.gateway.redis) is not None:
            self.gateway.readiness.add("redis", redis.check, gates=False)
        self.gateway.readiness.add("api_keys", self._check)
        await self._directory.start()

    async def _check(self) -> None:
        self._keys.check()

    def credential(self, exchange: Exchange) -> bytes | None:
        """Return the value of the field."""
        headers = exchange.request.headers
        value = headers.value(self._field)
        if value is not None and not self.config.forward:
            headers.remove(self.config.header)
        return value

    def query_credential(self, exchange: Exchange) -> bytes | None:
        """Return the value of the parameter, and cut it out of the query, however it is written."""
        request = exchange.request
        if request.query is None:
            return None
        kept, found = [], []
        for part in request.query.split("&"):
            name, _, value = part.partition("=")
            if unquote_to_bytes(name) == self._parameter:
                found.append(unquote_to_bytes(value))
            else:
                kept.append(part)
        if not found:
            return None
        request.query = "&".join(kept) if kept else None
        path = request.target.partition("?")[0]
        request.target = f"{path}?{request.query}" if kept else path
        return b", ".join(found)  # several of them are no key

    def remembered(self, credential: bytes) -> Principal | None:
        """Return the principal of a key that was good, and still is, wherever it is shown from."""
        keys = self._keys
        known = keys.checked.get(credential)
        # A key that was revoked, rotated or changed is another object, or none.
        if known is None or keys.by_id.get(known.id) is not known:
            return None
        now = self._now()
        if now >= known.expires_at or self._clock() > keys.usable_until:
            return None
        keys.used[known.id] = now
        self._hits.value += 1
        return known.principal

    async def verify(self, credential: bytes, exchange: Exchange) -> Principal:
        """Judge a key by what is in memory.

        Raises:
            InvalidCredential: there is no such key, or it may not be used now and from there.
            AuthUnavailable: what is in memory is too old to tell.

        """
        self._misses.value += 1
        parts = split_api_key(credential)
        if parts is None:
            raise InvalidCredential("malformed")
        key_id, secret = parts
        keys = self._keys
        keys.check()
        known = keys.by_id.get(key_id)
        matches = self._matches(known, secret)
        if known is None:
            raise InvalidCredential(keys.reason_unknown(key_id), key_id)
        if not matches:
            raise InvalidCredential(keys.reason_wrong(), key_id)
        now = self._now()
        if now >= known.expires_at:
            raise InvalidCredential("expired", key_id)
        if not known.allows(exchange.request.peer.address):
            raise InvalidCredential("network", key_id)
        keys.used[key_id] = now
        if not known.restricted:
            keys.remember(credential, known)
        return known.principal

    def _matches(self, known: KnownKey | None, secret: str) -> bool:
        """Whether a secret is that of a key; takes as long where there is no such key."""
        expected = _NO_HASH if known is None else known.hash
        return verify_api_key(secret, self._keys.pepper or "", expected)
