"""The tables, one definition for SQLite, MySQL and MariaDB.

Points in time are microseconds of the Unix clock, as integers: both kinds of database lose the
time zone of a date, each in its own way. What makes these tables, and changes them, is in
``migrations``; a test sees to it that the two agree.

**Spaces at the end.** To MySQL and MariaDB "a" and "a " are equal (PAD SPACE, which the collation
has), to SQLite and to Python they are not. There is no collation without it that both servers know.
Text that is unique is therefore an :class:`ExactText`, which never ends with a space in the table.
If the two were one there:

- ``revoked_tokens.jti``, which issuers choose: who revokes "a " after "a" would be told that it is
  done, and the token would be good as before.
- ``api_keys.id``: whoever names "a ", to revoke or rotate it, would change "a". Clients cannot show
  such a key, as ids have 16 hexadecimal digits.
- ``rate_limit_records.caller``: refusals would count as somebody else's, in a report; limits are
  not kept here. What ``token_bucket`` writes has no spaces: a value that has some is hashed.
- names and URLs of routes, services and instances: refused where only the space differs. They come
  from files and have no spaces, or whoever loads them is told.

Text that is not unique is as it was given. ``api_keys.owner`` is compared in lists only, and
``gatewayd keys create`` takes none with a space at an end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

HEAD = "0002"
"""The migration that the code needs; the newest in ``migrations/versions``."""


def wrong_version(where: str, found: str | None) -> str:
    """Tell that a database has other tables than the code needs, and what to do about it.

    Args:
        where: The database, without its password.
        found: The version of its tables, ``None`` where it has none.

    """
    if found is None:
        return f"{where} has no tables, expected {HEAD}; run gatewayd init-db"
    remedy = "run gatewayd init-db"
    if found > HEAD:
        remedy = "a newer gatewayd made them: install that one, or restore a backup"
    return f"{where} has version {found} of the tables, expected {HEAD}; {remedy}"


metadata = sa.MetaData()

# SQLite counts rows by itself only for a column that is an INTEGER.
BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# Names are compared byte by byte: keys that differ in case are two keys.
OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


_MARKED = (" ", "\\")  # what ends with the mark itself, too, or it could not be told apart


class ExactText(sa.types.TypeDecorator[str]):
    """Text that all databases compare as Python does, with its spaces at the end.

    What ends with a space or a backslash has one more backslash in the table, which needs room: the
    longest text may end with neither.
    """

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return a text as it is stored."""
        return value + "\\" if value is not None and value.endswith(_MARKED) else value

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return a stored text as it was given; without a mark, as by SQL, it is what it says."""
        if value is not None and value.endswith("\\") and value[:-1].endswith(_MARKED):
            return value[:-1]
        return value


def _moment(name: str, *, null: bool = False, index: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null, index=index)


counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", ExactText(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
    **OPTIONS,
)
"""Versions of tables that are followed; locked while a row changes, so versions commit in order."""

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", ExactText(64), primary_key=True),
    # In hexadecimal: aiomysql 0.3 cannot write bytes.
    sa.Column("hash", sa.String(128), nullable=False),
    sa.Column("owner", sa.String(255), nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("permissions", sa.JSON, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("networks", sa.JSON, nullable=False),
    sa.Column("rate_limit", sa.String(255)),
    _moment("created_at"),
    _moment("expires_at", null=True),
    _moment("revoked_at", null=True),
    _moment("last_used_at", null=True),
    sa.Column("version", sa.BigInteger, nullable=False, unique=True),
    **OPTIONS,
)

revoked_tokens = sa.Table(
    "revoked_tokens",
    metadata,
    sa.Column("jti", ExactText(255), primary_key=True),
    _moment("expires_at", index=True),
    **OPTIONS,
)

services = sa.Table(
    "services",
    metadata,
    sa.Column("name", ExactText(128), primary_key=True),
    sa.Column("definition", sa.JSON, nullable=False),
    **OPTIONS,
)

service_instances = sa.Table(
    "service_instances",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("service", ExactText(128), nullable=False),
    sa.Column("url", ExactText(512), nullable=False),
    sa.Column("weight", sa.Integer, nullable=False),
    sa.Column("zone", sa.String(128), nullable=False),
    sa.Column("healthy", sa.Boolean, nullable=False),
    sa.UniqueConstraint("service", "url", name="uq_service_instances_service_url"),
    **OPTIONS,
)

routes = sa.Table(
    "routes",
    metadata,
    sa.Column("name", ExactText(128), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("definition", sa.JSON, nullable=False),
    **OPTIONS,
)

rate_limit_records = sa.Table(
    "rate_limit_records",
    metadata,
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("route", ExactText(128), primary_key=True),
    sa.Column("caller", ExactText(255), primary_key=True),
    sa.Column("rejected", sa.BigInteger, nullable=False),
    **OPTIONS,
)

circuit_breaker_states = sa.Table(
    "circuit_breaker_states",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("node", sa.String(128), nullable=False),
    sa.Column("service", sa.String(128), nullable=False),
    sa.Column("instance", sa.String(512), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    _moment("at", index=True),
    _moment("until", null=True),
    sa.Index("ix_circuit_breaker_states_node_at", "node", "at"),
    **OPTIONS,
)

audit_logs = sa.Table(
    "audit_logs",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    _moment("at", index=True),
    sa.Column("node", sa.String(128), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(255), nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("route", sa.String(128), nullable=False),
    sa.Column("method", sa.String(32), nullable=False),
    sa.Column("path", sa.String(1024), nullable=False),
    sa.Column("client", sa.String(64), nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    **OPTIONS,
)
