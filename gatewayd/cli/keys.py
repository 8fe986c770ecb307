"""What the commands ``gatewayd keys ...`` have in common: the store, and telling of changes."""

from __future__ import annotations

import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gatewayd.cli.changes import afterwards, operator, record_change
from gatewayd.cli.output import print_json
from gatewayd.config.load import load
from gatewayd.errors import GatewayError
from gatewayd.pepper import is_embedded, read_or_make_pepper
from gatewayd.redis.link import Redis
from gatewayd.store.store import opened_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd.config.load import LoadedConfig
    from gatewayd.redis.settings import RedisConfig
    from gatewayd.store.records import ApiKeyRecord
    from gatewayd.store.store import Store

TOPIC = "api_keys"
"""What gateways ask Redis about, to learn of changes at once."""


class Keys:
    """The keys of a configuration's store, as commands see them.

    Args:
        loaded: The configuration.
        store: The store, started.

    """

    def __init__(self, loaded: LoadedConfig, store: Store) -> None:
        self.table = store.api_keys
        self._loaded = loaded
        self._store = store
        self._operator = operator()

    def pepper(self) -> str:
        """Return the pepper that the gateway hashes with; made where the installation has none.

        Raises:
            GatewayError: the configuration names none, and it needs to, or one that is no good.

        """
        settings = self._loaded.config.filters.get("auth", {}).get("api_key", {})
        model = self._loaded.plugins.authentication.load("api_key").Config
        try:
            config: Any = model.model_validate(settings)
        except ValidationError as error:
            # The secret that is wrong may be in the error.
            keys = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            raise GatewayError(f"filters.auth.api_key cannot be used: {keys}") from None
        if config.pepper is not None:
            return str(config.pepper.get_secret_value())
        if not is_embedded(self._store):
            raise GatewayError("set filters.auth.api_key.pepper: other nodes share the store")
        return read_or_make_pepper(Path(config.pepper_file))

    async def get(self, key_id: str) -> ApiKeyRecord:
        """Return a key.

        Raises:
            GatewayError: there is none of that id.

        """
        record = await self.table.get(key_id)
        if record is None:
            raise GatewayError(f"there is no API key {key_id!r}")
        return record

    async def changed(self, action: str, record_id: str, owner: str) -> None:
        """Record a change, and tell running gateways, which otherwise find it by themselves."""
        config = self._loaded.config
        await record_change(config, f"key.{action}", self._operator, key=record_id, owner=owner)
        if config.redis is not None:
            failure = "Redis cannot be told, allow 10 seconds for it"
            await afterwards(_tell(config.redis), failure)


async def _tell(settings: RedisConfig) -> None:
    redis = Redis(settings)
    try:
        await redis.start()
        await redis.bump(TOPIC)
    finally:
        await redis.close()


@asynccontextmanager
async def opened(config: Path, env: str | None) -> AsyncIterator[Keys]:
    """Open the keys of a configuration's store."""
    loaded = load(config, env=env)
    async with opened_store(loaded.config.store) as store:
        yield Keys(loaded, store)


def print_new(key: str, record: ApiKeyRecord, *, json: bool) -> None:
    """Show a key as soon as the store has it, before anything can fail: it is nowhere else."""
    if json:
        print_json({"key": key, **described(record)})
    else:
        print(key)
    sys.stdout.flush()


def now() -> int:
    """Return the time as the store has it: microseconds of the Unix clock."""
    return time.time_ns() // 1000


def shown(moment: int | None) -> str:
    """Return a moment of the store for people to read; empty for none."""
    if moment is None:
        return ""
    try:
        return datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OSError, OverflowError, ValueError):  # beyond the year 9999, by SQL: as it is there
        return str(moment)


def described(record: ApiKeyRecord) -> dict[str, Any]:
    """Return what is shown of a key: everything but its hash."""
    return {
        "id": record.id,
        "owner": record.owner,
        "name": record.name,
        "roles": sorted(record.roles),
        "permissions": sorted(record.permissions),
        "scopes": sorted(record.scopes),
        "networks": list(record.networks),
        "rate_limit": record.rate_limit or "",
        "status": status(record),
        "created": shown(record.created_at),
        "expires": shown(record.expires_at),
        "revoked": shown(record.revoked_at),
        "last_used": shown(record.last_used_at),
    }


def status(record: ApiKeyRecord) -> str:
    """Return whether a key is ``active``, ``revoked`` or ``expired``."""
    if record.revoked_at is not None:
        return "revoked"
    if record.expires_at is not None and record.expires_at <= now():
        return "expired"
    return "active"
