"""Deleting what is too old, in steps.

One statement for a year of rows would outlast its time-out, be rolled back, and be tried again for
ever; others would wait for its locks meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database

AT_ONCE = 10_000
"""Rows that one statement deletes, in a transaction of its own."""


async def purge(database: Database, table: sa.Table, old: sa.ColumnElement[bool]) -> int:
    """Delete the rows that are old; returns how many.

    Where it fails, what was deleted until then stays deleted.

    Args:
        database: Where the table is.
        table: The table.
        old: Which rows; others do not come to be old meanwhile.

    Raises:
        StoreError: the store is away, or was not set up.

    """

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(_statement(connection, table, old))).rowcount

    purged = 0
    while deleted := await database.write(work):
        purged += deleted
        if deleted < AT_ONCE:
            break
    return purged


def _statement(connection: AsyncConnection, table: sa.Table, old: sa.ColumnElement[bool]) -> Any:
    statement = table.delete()
    if connection.dialect.name == "mysql":
        return statement.where(old).with_dialect_options(mysql_limit=AT_ONCE)
    # SQLite's DELETE has no LIMIT, unless it was built with one.
    row: sa.ColumnClause[int] = sa.column("rowid", sa.Integer)
    return statement.where(row.in_(sa.select(row).select_from(table).where(old).limit(AT_ONCE)))
