"""API keys in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """What the store knows of one key. Times are microseconds of the Unix clock.

    Attributes:
        id: Public id; unique.
        hash: Keyed hash of the secret; see :func:`gatewayd.crypto.hash_api_key`.
        owner: Whom it stands for.
        name: What it is for, for people to read.
        roles, permissions, scopes: As of a principal.
        networks: Networks from which it may be used; from all where empty.
        rate_limit: Limit of its own.
        created_at, expires_at, revoked_at, last_used_at: When; ``None`` for never.
        version: Number of the last change; grows with every change of any key.

    """

    id: str
    hash: bytes
    owner: str
    name: str
    roles: frozenset[str]
    permissions: frozenset[str]
    scopes: frozenset[str]
    networks: tuple[str, ...]
    rate_limit: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    version: int


class ApiKeys(Protocol):
    """The table of keys. Every method raises where the database is away."""

    async def create(self, record: ApiKeyRecord) -> None:
        """Add a key; its version is the store's to choose."""

    async def get(self, key_id: str) -> ApiKeyRecord | None:
        """Return a key, ``None`` where there is none of that id."""

    async def list(
        self, owner: str | None = None, include_revoked: bool = False
    ) -> Sequence[ApiKeyRecord]:
        """Return keys."""

    async def revoke(self, key_id: str, at: int) -> bool:
        """Revoke a key; return whether there was one that was not revoked."""

    async def replace_hash(self, key_id: str, value: bytes) -> None:
        """Give a key another secret."""

    async def changed_since(self, version: int, limit: int = 1000) -> Sequence[ApiKeyRecord]:
        """Return keys that were changed after a version, revoked ones too, in order of version."""

    async def touch(self, used: Mapping[str, int]) -> None:
        """Note when keys were last used; no change of their version."""

    async def latest_version(self) -> int:
        """Return the version of the last change, 0 where there was none."""
