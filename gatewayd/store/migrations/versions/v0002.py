"""Old transitions of breakers are found without a look at all of them."""

from __future__ import annotations

from gatewayd.store.migrations.repeatable import make_index

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the index by which they are deleted."""
    make_index("ix_circuit_breaker_states_at", "circuit_breaker_states", ["at"])
