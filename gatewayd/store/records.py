"""What filters read from the store and write to it; free of any database's types."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """What is stored of an API key.

    Attributes:
        id: Its public id.
        hash: Keyed hash of its secret.
        owner: Whose it is; the principal's id.
        name: What it is for, for people.
        roles, permissions, scopes: Of whoever shows it.
        networks: From where it may be used, in CIDR form; from everywhere where empty.
        rate_limit: Its own limit, as ``token_bucket`` writes limits.
        created_at, expires_at, revoked_at, last_used_at: Microseconds of the Unix clock.
        version: Grows with each change of any key, over all nodes.

    """

    id: str
    hash: bytes
    owner: str
    name: str = ""
    roles: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    networks: tuple[str, ...] = ()
    rate_limit: str | None = None
    created_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    version: int = 0

    def __repr__(self) -> str:
        return f"<API key {self.id} of {self.owner}>"


@dataclass(frozen=True, slots=True)
class UnreadableApiKey:
    """The row of an API key that says nothing sensible, as after a mistake in SQL by hand.

    Attributes:
        id: Public id of the key.
        version: As in :class:`ApiKeyRecord`.
        reason: What is wrong with it; tells nothing of its hash.

    """

    id: str
    version: int
    reason: str

    def __str__(self) -> str:
        return f"the row of the API key {self.id!r} cannot be read: {self.reason}"


@dataclass(frozen=True, slots=True)
class BreakerTransition:
    """One change of one breaker.

    Attributes:
        node: Where.
        service: Name of the service.
        instance: URL of the instance; ``""`` for a breaker of the whole service.
        state: ``closed``, ``open`` or ``half_open``.
        at: When, in microseconds of the Unix clock.
        until: How long it stays open, same clock; ``None`` where it is not.

    """

    node: str
    service: str
    instance: str
    state: str
    at: int
    until: int | None = None
