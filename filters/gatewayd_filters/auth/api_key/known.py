"""A key as it is held in memory: its record, and what follows from it."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_network
from operator import attrgetter
from typing import TYPE_CHECKING

from gatewayd import ApiKeyRecord, Networks, Principal, parse_address

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

NEVER = float("inf")
_NOWHERE = Networks()
# A use is no change; and of two versions that say the same, either will do.
_content = attrgetter(
    *(field.name for field in fields(ApiKeyRecord) if field.name not in ("last_used_at", "version"))
)


class KnownKey:
    """One key that is not revoked.

    Args:
        record: What the store knows of it.

    Attributes:
        record: The same.
        id: Its public id.
        hash: Of its secret.
        principal: Who shows it.
        expires_at: Seconds of the Unix clock.
        restricted: Whether it may be used from some networks only.

    """

    __slots__ = ("_networks", "expires_at", "hash", "id", "principal", "record", "restricted")

    def __init__(self, record: ApiKeyRecord) -> None:
        self.record = record
        self.id = record.id
        self.hash = record.hash
        self.expires_at = NEVER if record.expires_at is None else record.expires_at / 1e6
        self.restricted = bool(record.networks)
        self._networks = Networks(_networks(record.networks)) if self.restricted else _NOWHERE
        self.principal = Principal(
            id=record.owner,
            method="api_key",
            kind="api_key",
            name=record.name or None,
            roles=frozenset(record.roles),
            permissions=frozenset(record.permissions),
            scopes=frozenset(record.scopes),
            key_id=record.id,
            rate_limit=record.rate_limit,
            expires_at=None if record.expires_at is None else self.expires_at,
        )

    def says(self, record: ApiKeyRecord) -> bool:
        """Whether it is what would be made of this record."""
        return bool(_content(self.record) == _content(record))

    def allows(self, address: str) -> bool:
        """Whether it may be used from this address; what cannot be judged may not."""
        if not self.restricted:
            return True
        try:
            return parse_address(address) in self._networks
        except ValueError:
            return False

    def __repr__(self) -> str:
        return f"<API key {self.record.id} of {self.record.owner}>"


def _networks(texts: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    """Return the networks that can be read; one that cannot allows nobody."""
    networks = []
    for text in texts:
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError:
            continue
    return networks
