"""Authentication methods and a store of API keys that a test plays with."""

from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, cast

from gatewayd import (
    ApiKeyRecord,
    Audit,
    AuthMethod,
    AuthUnavailable,
    FilterConfig,
    InvalidCredential,
    Principal,
    hash_api_key,
)
from gatewayd.registry import Plugins, Registry
from gatewayd.store.settings import StoreConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd import AuditEvent, Exchange, Store

GROUP = "gatewayd.authentication"
PEPPER = "0123456789abcdef-of-the-tests-only"


class TokenConfig(FilterConfig):
    """Settings of the methods of this module."""

    prefix: str = "good"
    """What good credentials begin with."""


class Token(AuthMethod[TokenConfig]):
    """Takes ``X-Token``: ``good-NAME`` is good, ``away`` cannot be judged, else it says why not."""

    name = "token"
    Config = TokenConfig
    challenge = "Token"
    field = "X-Token"
    parameter = "token"

    def __init__(self, config: TokenConfig, gateway: Any) -> None:
        super().__init__(config, gateway)
        self.running = 0
        self.verified = 0

    async def start(self) -> None:
        self.running += 1

    async def close(self) -> None:
        self.running -= 1

    def credential(self, exchange: Exchange) -> bytes | None:
        headers = exchange.request.headers
        value = headers.get(self.field)
        headers.remove(self.field)
        return None if value is None else value.encode("latin-1")

    def query_credential(self, exchange: Exchange) -> bytes | None:
        name, _, value = (exchange.request.query or "").partition("=")
        if name != self.parameter:
            return None
        exchange.request.query = None
        return value.encode()

    def remembered(self, credential: bytes) -> Principal | None:
        return self._principal(credential) if b"-remembered" in credential else None

    async def verify(self, credential: bytes, exchange: Exchange) -> Principal:
        self.verified += 1
        await asyncio.sleep(0)
        if credential == b"away":
            raise AuthUnavailable("jwks", "the server is away")
        if not credential.startswith(self.config.prefix.encode()):
            raise InvalidCredential(credential.decode("latin-1"), actor="somebody")
        return self._principal(credential)

    def _principal(self, credential: bytes) -> Principal:
        name = credential.decode("latin-1")
        return Principal(id=name, method=self.name, roles=frozenset({"reader"}))


class Ticket(Token):
    """The same with ``X-Ticket``."""

    name = "ticket"
    challenge = "Ticket"
    field = "X-Ticket"
    parameter = "ticket"


class _Methods(Registry[AuthMethod[FilterConfig]]):
    def __init__(self, *classes: type[AuthMethod[Any]]) -> None:
        super().__init__(GROUP, AuthMethod)
        for one in classes:
            self._points[one.name] = [EntryPoint(one.name, "of.a:test", GROUP)]
            self._loaded[one.name] = one


def plugins_with_methods(*classes: type[AuthMethod[Any]]) -> Plugins:
    """Return the installed plugins, and these authentication methods."""
    return Plugins(authentication=_Methods(*(classes or (Token, Ticket))))


class AuditList(Audit):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


def key_record(key_id: str, secret: str, **fields: Any) -> ApiKeyRecord:
    """Make the record of a key."""
    defaults: dict[str, Any] = {
        "hash": hash_api_key(secret, PEPPER),
        "owner": "shop",
        "name": "",
        "roles": frozenset({"reader"}),
        "permissions": frozenset(),
        "scopes": frozenset(),
        "networks": (),
        "rate_limit": None,
        "created_at": 0,
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        "version": 0,
    }
    return ApiKeyRecord(**{"id": key_id, **defaults, **fields})


class FakeKeys:
    """The table of keys, in memory; it can be away, or hang."""

    def __init__(self) -> None:
        self.rows: dict[str, ApiKeyRecord] = {}
        self.failure: Exception | None = None
        self.queries = 0
        self.touched: dict[str, int] = {}
        self._version = 0

    def put(self, record: ApiKeyRecord, **changes: Any) -> ApiKeyRecord:
        """Write a record, with the next version."""
        self._version += 1
        values = {name: getattr(record, name) for name in record.__dataclass_fields__}
        row = ApiKeyRecord(**{**values, **changes, "version": self._version})
        self.rows[row.id] = row
        return row

    def start_over(self) -> None:
        """Forget everything, as a database that is made anew."""
        self.rows.clear()
        self._version = 0

    async def _answer(self) -> None:
        self.queries += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure

    async def latest_version(self) -> int:
        """Return the version of the last change."""
        await self._answer()
        return self._version

    async def changed_since(self, version: int, limit: int = 1000) -> list[ApiKeyRecord]:
        """Return what has changed, in order."""
        await self._answer()
        rows = sorted(self.rows.values(), key=lambda row: row.version)
        return [row for row in rows if row.version > version][:limit]

    async def touch(self, used: Mapping[str, int]) -> None:
        """Note when keys were used."""
        await self._answer()
        self.touched.update(used)


class FakeStore:
    """A store that has API keys only."""

    def __init__(self, url: str = "sqlite:///of_the_tests.db") -> None:
        self.config = StoreConfig(url=url)
        self.api_keys = FakeKeys()

    async def start(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def check(self) -> None:
        """Do nothing."""


def as_store(fake: FakeStore) -> Store:
    """Return a fake where a store is asked for."""
    return cast("Store", fake)


class FakeRedis:
    """Counts changes; raises while it is away."""

    def __init__(self) -> None:
        self.number = 0
        self.away = False
        self.asked = 0

    async def start(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def check(self) -> None:
        """Raise while it is away."""
        if self.away:
            raise ConnectionError("away")

    async def version(self, topic: str) -> int:
        """Return the number of changes."""
        self.asked += 1
        if self.away:
            raise ConnectionError("away")
        return self.number
