"""Where keys come from: the configuration, or a key set that the issuer publishes.

A published set is fetched in the background and, where a token names a key that is not in it, once
more at the expense of that request: one fetch for all that wait (single flight), and no other one
within ``cooldown``. While the issuer is away, the keys that are there go on for a while; what
cannot be judged is no fault of the caller's.

A name that is not in the set is judged by the last try to fetch it. If that failed, the key may be
a new one: the token cannot be judged (503), however often it comes within ``cooldown``. If it
succeeded, the set is at most ``cooldown`` old and the key is unknown (401), unless another fetch is
under way, which is waited for: issuers publish a key before they sign with it, and answering 503
would let anybody's made-up names look like an outage. A token without a name is judged with the
keys that are there.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

import aiohttp

from gatewayd import (
    AuthUnavailable,
    ConfigError,
    ConfigIssue,
    InvalidCredential,
    tls_client_context,
)
from gatewayd_filters.auth.jwt.keys import UnusableKey, keys_of_set

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from gatewayd import Cell, Family
    from gatewayd_filters.auth.jwt.config import JwtConfig
    from gatewayd_filters.auth.jwt.keys import VerificationKey

RETRY = 1.0
"""Seconds until the first retry of a fetch in the background; each next one takes twice as long, up
to ``cooldown``. An issuer that starts together with the gateway is found soon."""

logger = logging.getLogger("gatewayd.filters.auth.jwt")


class FixedKeys:
    """Keys that stand in the configuration.

    Attributes:
        remaining: Seconds for which they may be used.

    """

    remaining = math.inf

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._keys = tuple(keys)

    async def find(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        """Return the keys that may have signed a token.

        Raises:
            InvalidCredential: there is none.

        """
        found = candidates(self._keys, kid, algorithm)
        if not found:
            raise InvalidCredential("unknown_key")
        return found


class PublishedKeys:
    """The key set of an issuer.

    Args:
        config: The method's settings; ``jwks_url`` is set.
        clock: Monotonic seconds.
        fetches: Counts fetches by result.
        changed: Is called when keys have gone.

    """

    def __init__(
        self,
        config: JwtConfig,
        clock: Callable[[], float],
        fetches: Family[Cell],
        changed: Callable[[frozenset[object]], None],
    ) -> None:
        self._config = config
        self._clock = clock
        self._succeeded, self._failed = fetches.labels("success"), fetches.labels("failure")
        self._changed = changed
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._failure = "it has not been fetched yet"
        self._flight: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        stale = config.on_outage == "stale"
        self._usable_for = config.max_stale if stale else 2 * config.refresh

    def start(self) -> None:
        """Begin to fetch; safe to call again."""
        if self._refreshing is None:
            # Read here and not at each fetch: a file that is gone is an error of the start.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=_ssl_context(self._config.jwks_ca)),
                timeout=aiohttp.ClientTimeout(total=self._config.timeout),
                auto_decompress=False,  # a small answer must not become a large one
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            )
            self._refreshing = asyncio.create_task(self._refresh(), name="gatewayd jwks")

    async def close(self) -> None:
        """Stop fetching."""
        tasks = [task for task in (self._refreshing, self._flight) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def first_fetch(self) -> None:
        """Return when the first fetch has ended, however it did."""
        if self._tried_at is None:
            await self._fetch_once()

    async def check(self) -> None:
        """Raise where no usable keys are there, for readiness."""
        self._current()

    @property
    def remaining(self) -> float:
        """Seconds for which the keys that are there may be used."""
        if self._fetched_at is None:
            return 0.0
        return max(self._fetched_at + self._usable_for - self._clock(), 0.0)

    async def find(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        """Return the keys that may have signed a token.

        Raises:
            InvalidCredential: there is none, and the set is new enough to tell.
            AuthUnavailable: the set is not there, or the issuer was away when it was asked for this
                key: it may be one that is new.

        """
        if self._fetched_at is None and not self._cooling():
            await self._fetch_once()
        found = candidates(self._current(), kid, algorithm)
        if found:
            return found
        # A fetch that is under way may bring the key; where the one before it failed, nobody waits
        # for an issuer that may hang.
        fetching = self._flight is not None and not self._flight.done()
        if not self._cooling() or (fetching and not self._failure):
            await self._fetch_once()
            found = candidates(self._current(), kid, algorithm)
            if found:
                return found
        if self._failure:
            raise AuthUnavailable("jwks", self._failure)
        raise InvalidCredential("unknown_key")

    def _current(self) -> Sequence[VerificationKey]:
        if not self.remaining:
            raise AuthUnavailable("jwks", self._failure or "its keys are too old")
        return self._keys

    def _cooling(self) -> bool:
        tried_at = self._tried_at
        return tried_at is not None and self._clock() < tried_at + self._config.cooldown

    async def _refresh(self) -> None:
        pause = RETRY
        while True:
            await self._fetch_once()
            if not self._failure:
                pause = RETRY
                await asyncio.sleep(self._config.refresh)
            else:
                await asyncio.sleep(min(pause, self._config.cooldown, self._config.refresh))
                pause = min(2 * pause, self._config.cooldown)

    async def _fetch_once(self) -> None:
        """Fetch, or wait for the fetch that is under way; what goes wrong is in ``_failure``."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fetch(), name="gatewayd jwks fetch")
        # Shielded: a request that gives up must not take the keys from the others.
        await asyncio.shield(self._flight)

    async def _fetch(self) -> None:
        self._tried_at = self._clock()
        try:
            text = await self._read()
            keys = keys_of_set(text, self._config.algorithms, shared=False)
        except (aiohttp.ClientError, TimeoutError, OSError, UnusableKey) as error:
            self._failed.value += 1
            if not self._failure or self._fetched_at is None:
                logger.warning("the key set %s cannot be used: %r", self._config.jwks_url, error)
            self._failure = f"{type(error).__name__}: {error}"
            return
        self._succeeded.value += 1
        if self._failure:
            logger.info("the key set %s has %d usable keys", self._config.jwks_url, len(keys))
        self._failure = ""
        self._fetched_at = self._clock()
        before, self._keys = self._keys, tuple(keys)
        identities = frozenset(key.identity for key in keys)
        if not identities.issuperset(key.identity for key in before):
            self._changed(identities)

    async def _read(self) -> bytes:
        session, url, limit = self._session, self._config.jwks_url, self._config.max_bytes
        if session is None or url is None:
            raise UnusableKey("not started")
        async with session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise UnusableKey(f"answered with status {response.status}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise UnusableKey("compressed, which was not asked for")
            text = b""
            while piece := await response.content.read(limit + 1 - len(text)):
                text += piece
                if len(text) > limit:
                    raise UnusableKey(f"more than {limit} bytes")
            return text


def candidates(
    keys: Iterable[VerificationKey], kid: str | None, algorithm: str
) -> list[VerificationKey]:
    """Return the keys that may have signed a token: by name where both have one, by algorithm."""
    return [
        key
        for key in keys
        if algorithm in key.algorithms and (kid is None or key.kid is None or key.kid == kid)
    ]


def _ssl_context(authorities: str | None) -> ssl.SSLContext:
    """Return what verifies the issuer; the system's authorities where none are named.

    Raises:
        ConfigError: the file cannot be used.

    """
    try:
        return tls_client_context(authorities)
    except OSError as error:  # ssl.SSLError is one
        message = f"the authorities in {authorities} cannot be used: {error}"
        raise ConfigError(ConfigIssue(message, key="filters.auth.jwt.jwks_ca")) from error
