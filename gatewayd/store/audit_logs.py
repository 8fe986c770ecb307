"""The audit trail's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gatewayd.store.purge import purge
from gatewayd.store.schema import audit_logs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database


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
        return await purge(self._database, audit_logs, audit_logs.c.at < before)
