"""API keys, by their public ids."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gatewayd.store.errors import StoreError
from gatewayd.store.records import ApiKeyRecord, UnreadableApiKey
from gatewayd.store.schema import api_keys, counters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database

_COUNTER = "api_keys"
_SETS = ("roles", "permissions", "scopes")
_MOMENTS = ("created_at", "expires_at", "revoked_at", "last_used_at")
# JSON as text: what is none must not end the query that other rows are read with.
_ROWS = sa.select(
    *(
        sa.type_coerce(column, sa.Text).label(column.name)
        if isinstance(column.type, sa.JSON)
        else column
        for column in api_keys.c
    )
)


class ApiKeys:
    """The table of API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, record: ApiKeyRecord) -> ApiKeyRecord:
        """Add a key; returns it with its version.

        Raises:
            StoreError: there is one with this id.
            StoreUnavailable: the store is away.

        """

        async def work(connection: AsyncConnection) -> int:
            version = await _next_version(connection)
            row = _row(record) | {"version": version}
            await connection.execute(api_keys.insert().values(row))
            return version

        version = await self._database.write(work)
        return replace(record, version=version)

    async def get(self, key_id: str) -> ApiKeyRecord | None:
        """Return a key, ``None`` where there is none.

        Raises:
            StoreError: its row cannot be read.
            StoreUnavailable: the store is away.

        """
        found = await self._select(_ROWS.where(api_keys.c.id == key_id))
        if not found:
            return None
        if isinstance(found[0], UnreadableApiKey):
            raise StoreError(str(found[0]))
        return found[0]

    async def list(
        self, owner: str | None = None, *, include_revoked: bool = False, limit: int = 10_000
    ) -> Sequence[ApiKeyRecord | UnreadableApiKey]:
        """Return the keys, the oldest first; a row that cannot be read is told of in its place.

        Args:
            owner: Of whom; of everybody where absent.
            include_revoked: Whether revoked ones are there, too.
            limit: Most keys.

        Raises:
            StoreUnavailable: the store is away.

        """
        query = _ROWS.order_by(api_keys.c.created_at, api_keys.c.id).limit(limit)
        if owner is not None:
            query = query.where(api_keys.c.owner == owner)
        if not include_revoked:
            query = query.where(api_keys.c.revoked_at.is_(None))
        return await self._select(query)

    async def changed_since(
        self, version: int, limit: int = 1000
    ) -> Sequence[ApiKeyRecord | UnreadableApiKey]:
        """Return keys that were made or changed after a version, in the order of their versions.

        Versions become visible in their order, as a row that all changes lock gives them: whoever
        has seen one has seen all before it. A row that cannot be read is told of in its place, and
        keeps nobody from the others.

        Args:
            version: The last one that was seen; 0 for all keys.
            limit: Most keys.

        Raises:
            StoreUnavailable: the store is away.

        """
        query = _ROWS.where(api_keys.c.version > version)
        return await self._select(query.order_by(api_keys.c.version).limit(limit))

    async def latest_version(self) -> int:
        """Return the version of the last change, 0 where there was none."""

        async def work(connection: AsyncConnection) -> int:
            query = sa.select(counters.c.value).where(counters.c.name == _COUNTER)
            return await connection.scalar(query) or 0

        return await self._database.read(work, fresh=True)

    async def revoke(self, key_id: str, at: int) -> bool:
        """Revoke a key; returns whether there was one that was not revoked.

        Args:
            key_id: Which.
            at: When, in microseconds of the Unix clock.

        """
        return await self._change(key_id, {"revoked_at": at})

    async def replace_hash(self, key_id: str, hash: bytes) -> bool:  # noqa: A002
        """Give a key another secret; returns whether there was one that was not revoked."""
        return await self._change(key_id, {"hash": hash.hex()})

    async def touch(self, used: Mapping[str, int]) -> None:
        """Note when keys were used last; this is no change that others have to hear of."""

        async def work(connection: AsyncConnection) -> None:
            for key_id, at in used.items():
                later = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < at)
                statement = api_keys.update().where(api_keys.c.id == key_id, later)
                await connection.execute(statement.values(last_used_at=at))

        if used:
            await self._database.write(work)

    async def _change(self, key_id: str, values: Mapping[str, Any]) -> bool:
        async def work(connection: AsyncConnection) -> bool:
            version = await _next_version(connection)
            statement = api_keys.update().where(
                api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)
            )
            result = await connection.execute(statement.values(**values, version=version))
            return result.rowcount > 0

        return await self._database.write(work)

    async def _select(self, query: sa.Select[Any]) -> Sequence[ApiKeyRecord | UnreadableApiKey]:
        async def work(connection: AsyncConnection) -> Sequence[ApiKeyRecord | UnreadableApiKey]:
            return [_read(dict(row)) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(work, fresh=True)


async def _next_version(connection: AsyncConnection) -> int:
    """Return the next version; others wait for the end of this transaction for theirs.

    Versions are microseconds of the Unix clock at least: a node that takes over after a failure may
    lack the last commits, and must not give their versions to other changes, or whoever has seen
    them would pass over those.
    """
    mine = counters.c.name == _COUNTER
    now = time.time_ns() // 1000
    following = counters.c.value + 1
    value = sa.case((following > now, following), else_=now)
    await connection.execute(counters.update().where(mine).values(value=value))
    return int(await connection.scalar(sa.select(counters.c.value).where(mine)) or 0)


def _row(record: ApiKeyRecord) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in ApiKeyRecord.__slots__}
    row |= {name: sorted(row[name]) for name in _SETS}
    row["networks"] = list(record.networks)
    row["hash"] = record.hash.hex()
    return row


def _read(row: dict[str, Any]) -> ApiKeyRecord | UnreadableApiKey:
    try:
        return _record(row)
    except ValueError as error:
        return UnreadableApiKey(row["id"], row["version"], str(error))


def _record(row: dict[str, Any]) -> ApiKeyRecord:
    """Return what a row says; raises :class:`ValueError` where that is nothing sensible."""
    sets = {name: frozenset(_texts(row, name)) for name in _SETS}
    networks = tuple(_texts(row, "networks"))
    for name in _MOMENTS:  # SQLite takes anything for an integer
        if not isinstance(row[name], int | None):
            raise ValueError(f"{name} is no integer")  # noqa: TRY004  # of the row
    try:
        hashed = bytes.fromhex(row["hash"])
    except (TypeError, ValueError):
        raise ValueError("hash is not hexadecimal") from None
    return ApiKeyRecord(**{**row, **sets, "networks": networks, "hash": hashed})


def _texts(row: dict[str, Any], name: str) -> list[str]:
    try:
        found = json.loads(row[name])
    except (RecursionError, TypeError, ValueError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{name} is no JSON array of strings")
    return found
