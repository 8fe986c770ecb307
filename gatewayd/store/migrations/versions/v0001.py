"""The first version of the tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from gatewayd.store.migrations.repeatable import insert_row, make_index, make_table

revision = "0001"
down_revision = None

_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
_BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make all tables."""
    make_table(
        "counters",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        **_OPTIONS,
    )
    insert_row(
        sa.table("counters", sa.column("name", sa.String), sa.column("value", sa.BigInteger)),
        "name",
        {"name": "api_keys", "value": 0},
    )
    _make_callers()
    _make_routes()
    _make_records()


def _make_callers() -> None:
    make_table(
        "api_keys",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("hash", sa.String(128), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("permissions", sa.JSON, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("networks", sa.JSON, nullable=False),
        sa.Column("rate_limit", sa.String(255)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False, unique=True),
        **_OPTIONS,
    )
    make_index("ix_api_keys_owner", "api_keys", ["owner"])
    make_table(
        "revoked_tokens",
        sa.Column("jti", sa.String(255), primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        **_OPTIONS,
    )
    make_index("ix_revoked_tokens_expires_at", "revoked_tokens", ["expires_at"])


def _make_routes() -> None:
    make_table(
        "services",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("definition", sa.JSON, nullable=False),
        **_OPTIONS,
    )
    make_table(
        "service_instances",
        sa.Column("id", _BigId, primary_key=True, autoincrement=True),
        sa.Column("service", sa.String(128), nullable=False),
        sa.Column("url", sa.String(512), nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("zone", sa.String(128), nullable=False),
        sa.Column("healthy", sa.Boolean, nullable=False),
        sa.UniqueConstraint("service", "url", name="uq_service_instances_service_url"),
        **_OPTIONS,
    )
    make_table(
        "routes",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("definition", sa.JSON, nullable=False),
        **_OPTIONS,
    )


def _make_records() -> None:
    make_table(
        "rate_limit_records",
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("route", sa.String(128), primary_key=True),
        sa.Column("caller", sa.String(255), primary_key=True),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        **_OPTIONS,
    )
    make_table(
        "circuit_breaker_states",
        sa.Column("id", _BigId, primary_key=True, autoincrement=True),
        sa.Column("node", sa.String(128), nullable=False),
        sa.Column("service", sa.String(128), nullable=False),
        sa.Column("instance", sa.String(512), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        **_OPTIONS,
    )
    make_index("ix_circuit_breaker_states_node_at", "circuit_breaker_states", ["node", "at"])
    make_table(
        "audit_logs",
        sa.Column("id", _BigId, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
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
        **_OPTIONS,
    )
    make_index("ix_audit_logs_at", "audit_logs", ["at"])
