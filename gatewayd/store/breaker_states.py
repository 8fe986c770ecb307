"""Transitions of circuit breakers, so that a node that starts again knows what had failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import sqlalchemy as sa

from gatewayd.store.clock import set_ahead
from gatewayd.store.purge import purge
from gatewayd.store.records import BreakerTransition
from gatewayd.store.schema import circuit_breaker_states as table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database


class BreakerStates:
    """The table of transitions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, transitions: Sequence[BreakerTransition]) -> None:
        """Add transitions, in one transaction."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(table.insert(), [asdict(one) for one in transitions])

        if transitions:
            await self._database.write(work)

    async def latest(self, node: str) -> list[BreakerTransition]:
        """Return the last transition of each breaker of a node."""
        breaker = (table.c.service, table.c.instance)
        newest = sa.select(sa.func.max(table.c.id)).where(table.c.node == node).group_by(*breaker)
        query = sa.select(*(table.c[name] for name in BreakerTransition.__slots__)).where(
            table.c.id.in_(newest)
        )

        async def work(connection: AsyncConnection) -> list[BreakerTransition]:
            return [BreakerTransition(*row) for row in await connection.execute(query)]

        return await self._database.read(work, fresh=True)

    async def purge(self, before: int) -> int:
        """Delete transitions from before a point in time; returns how many.

        Args:
            before: Microseconds of the Unix clock, as it is now; by what it was set ahead since the
                start, less is deleted.

        """
        return await purge(self._database, table, table.c.at < before - set_ahead())
