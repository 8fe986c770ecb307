"""Steps of a migration that may begin again.

MySQL and MariaDB commit each CREATE at once, and the version of the tables is written last: a
migration that was interrupted has left some of its tables behind, and must not stumble over them
when it runs again. MySQL has no CREATE INDEX IF NOT EXISTS, so whoever runs these looks first. In a
script, which runs once on an empty server, there is nothing to look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def make_table(name: str, *parts: sa.schema.SchemaItem, **options: Any) -> None:
    """Make a table where it is missing.

    Args:
        name: Of the table.
        parts: Columns and constraints.
        options: Of the dialects.

    """
    if not _has(lambda inspector: inspector.has_table(name)):
        op.create_table(name, *parts, **options)


def make_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Make an index where it is missing.

    Args:
        name: Of the index.
        table: Of which it is.
        columns: What it has, in this order.

    """
    if not _has(lambda inspector: name in {one["name"] for one in inspector.get_indexes(table)}):
        op.create_index(name, table, columns)


def insert_row(table: sa.TableClause, key: str, row: Mapping[str, Any]) -> None:
    """Insert a row where it is missing.

    Args:
        table: Where.
        key: The column that tells rows apart.
        row: All its values.

    """
    there = sa.select(table.c[key]).where(table.c[key] == row[key])
    if op.get_context().as_sql or op.get_bind().scalar(there) is None:
        op.bulk_insert(table, [dict(row)])


def _has(question: Callable[[sa.Inspector], bool]) -> bool:
    return not op.get_context().as_sql and question(sa.inspect(op.get_bind()))
