"""The audit trail's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gatewayd.store.schema import audit_logs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database

_PURGED_AT_ONCE = 10_000  # rows that one statement locks


class AuditLogs:
    """The table of audit events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, in one transaction."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(audit_logs.insert(), [dict(row) for row in rows])

        if rows:
            await self._database.write(work)

    async def recent(self, limit: int = 100, action: str | None = None) -> list[dict[str, Any]]:
        """Return the last rows, the newest first.

        Args:
            limit: Most rows.
            action: Which; all where absent.

        """
        query = sa.select(audit_logs).order_by(audit_logs.c.id.desc()).limit(limit)
        if action is not None:
            query = query.where(audit_logs.c.action == action)

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(work)

    async def purge(self, before: int) -> int:
        """Delete rows from before a point in time, in microseconds; returns how many."""
        oldest = sa.select(audit_logs.c.id).where(audit_logs.c.at < before).limit(_PURGED_AT_ONCE)
        # MySQL takes no LIMIT in a subquery of IN, but does in a table made of one.
        ids = sa.select(oldest.subquery().c.id)

        async def work(connection: AsyncConnection) -> int:
            statement = audit_logs.delete().where(audit_logs.c.id.in_(ids))
            return (await connection.execute(statement)).rowcount

        purged = 0
        while deleted := await self._database.write(work):
            purged += deleted
        return purged
