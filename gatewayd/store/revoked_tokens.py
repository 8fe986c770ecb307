"""Tokens that were revoked before they expire, by their ``jti`` (RFC 7519 section 4.1.7)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from gatewayd.store.purge import purge
from gatewayd.store.schema import revoked_tokens
from gatewayd.store.upsert import upsert

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.database import Database

MAX_ACTIVE = 1_000_000
"""Most ids that are read; a list of this size takes a worker 100 MB."""

logger = logging.getLogger("gatewayd.store")


class RevokedTokens:
    """The table of revoked tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._too_many = False

    async def add(self, jti: str, expires_at: int) -> None:
        """Revoke a token; what was revoked for longer stays so.

        Args:
            jti: Its id.
            expires_at: When it expires by itself, in microseconds of the Unix clock; after that it
                need not be remembered.

        """
        row = {"jti": jti, "expires_at": expires_at}

        def renewed(new: Any) -> dict[str, Any]:
            before = revoked_tokens.c.expires_at
            return {"expires_at": sa.case((before > new.expires_at, before), else_=new.expires_at)}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(upsert(connection, revoked_tokens, [row], renewed))

        await self._database.write(work)

    async def active(self, now: int) -> set[str]:
        """Return the ids of revoked tokens that would count ``now`` (microseconds) otherwise.

        Of more than :data:`MAX_ACTIVE` those that expire last; the log tells of it.
        """
        expires_at = revoked_tokens.c.expires_at
        query = sa.select(revoked_tokens.c.jti).where(expires_at > now)
        query = query.order_by(expires_at.desc()).limit(MAX_ACTIVE + 1)

        async def work(connection: AsyncConnection) -> list[str]:
            return list(await connection.scalars(query))

        found = await self._database.read(work, fresh=True)
        self._tell(too_many=len(found) > MAX_ACTIVE)
        return set(found[:MAX_ACTIVE])

    def _tell(self, *, too_many: bool) -> None:
        if too_many and not self._too_many:
            text = "more than %d tokens are revoked: those that expire first are accepted"
            logger.error(text, MAX_ACTIVE)
        self._too_many = too_many

    async def purge(self, before: int) -> int:
        """Forget tokens that have expired before a point in time; returns how many."""
        old = revoked_tokens.c.expires_at < before
        return await purge(self._database, revoked_tokens, old)
