"""Rejections by rate limits, added up per minute, route and caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gatewayd.store.clock import set_ahead
from gatewayd.store.purge import purge
from gatewayd.store.schema import rate_limit_records
from gatewayd.store.upsert import upsert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database


class RateLimitRecords:
    """The table of rejections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rows: Sequence[tuple[int, str, str, int]]) -> None:
        """Add counts to what is there.

        Args:
            rows: Minute of the Unix clock, route, caller, and how many were rejected.

        """
        columns = ("minute", "route", "caller", "rejected")
        values = [dict(zip(columns, row, strict=True)) for row in rows]
        table = rate_limit_records

        def added(new: Any) -> dict[str, Any]:
            return {"rejected": table.c.rejected + new.rejected}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(upsert(connection, table, values, added))

        if values:
            await self._database.write(work)

    async def recent(self, since: int, limit: int = 1000) -> list[dict[str, Any]]:
        """Return counts of the minutes from ``since`` on, the newest first."""
        query = (
            sa.select(rate_limit_records)
            .where(rate_limit_records.c.minute >= since)
            .order_by(rate_limit_records.c.minute.desc(), rate_limit_records.c.rejected.desc())
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(work)

    async def purge(self, before: int) -> int:
        """Delete counts of minutes before one; returns how many rows.

        Args:
            before: Minute of the Unix clock, as it is now; by what it was set ahead since the
                start, less is deleted.

        """
        old = rate_limit_records.c.minute < before - set_ahead() // 60_000_000
        return await purge(self._database, rate_limit_records, old)
