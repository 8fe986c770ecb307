"""Insert or update in one statement, which SQLite and MySQL write differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import mysql, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection


def upsert(
    connection: AsyncConnection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    update: Callable[[Any], Mapping[str, Any]],
) -> Any:
    """Return a statement that inserts rows, and updates those whose primary key is there already.

    Args:
        connection: Tells the dialect.
        table: Where.
        rows: What to insert.
        update: Is given the columns that would have been inserted, and returns the new values.

    """
    if connection.dialect.name == "mysql":
        into_mysql = mysql.insert(table).values(rows)
        return into_mysql.on_duplicate_key_update(dict(update(into_mysql.inserted)))
    into_sqlite = sqlite.insert(table).values(rows)
    return into_sqlite.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=dict(update(into_sqlite.excluded))
    )
