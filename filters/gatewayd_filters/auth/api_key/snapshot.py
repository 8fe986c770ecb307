"""The snapshot file: the keys as they were last known, for a start without the database.

It holds hashes and no keys, its owner alone can read it, and it is authenticated with the pepper,
so that whoever can write files still cannot make a key. Its time of modification says until when it
was known to be true.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gatewayd import ApiKeyRecord, GatewayError
from gatewayd_filters.auth.private_file import PrivateFile

if TYPE_CHECKING:
    from collections.abc import Sequence

_PURPOSE = b"gatewayd snapshot of API keys\n"  # no secret of a key looks like this
_SETS = frozenset({"roles", "permissions", "scopes"})
_BYTES_OF_KEY = 4096  # more than most take; a file of another kind must not fill the memory
_FIELDS = frozenset(field.name for field in fields(ApiKeyRecord))


class Snapshot(NamedTuple):
    """What the file says.

    Attributes:
        version: Version of the store that it was made of.
        records: The keys that were not revoked then.
        saved_at: When that was last known to be true, in seconds of the Unix clock.

    """

    version: int
    records: Sequence[ApiKeyRecord]
    saved_at: float


class SnapshotFile(PrivateFile):
    """The snapshot of one database's keys."""

    def save(self, pepper: str, version: int, records: Sequence[ApiKeyRecord]) -> None:
        """Replace the file; blocks.

        Args:
            pepper: What secrets are hashed with.
            version: Version of the store that the records are of.
            records: Keys that are not revoked.

        Raises:
            OSError: it cannot be written; the old one is still there.

        """
        rows = [_row(record) for record in records]
        body = orjson.dumps({"source": self._source, "version": version, "keys": rows})
        self._replace(_mac(pepper, body) + b"\n" + body)

    def load(self, pepper: str, max_keys: int) -> Snapshot:
        """Read the file; blocks.

        Args:
            pepper: What it was saved with.
            max_keys: Keys that there is room for; of a file that holds far more, not all is read.

        Raises:
            OSError: it cannot be read.
            GatewayError: it is not what this pepper and database have made, or it is damaged.

        """
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            mac, _, body = file.read(_BYTES_OF_KEY * (max_keys + 1)).partition(b"\n")
        if not hmac.compare_digest(mac, _mac(pepper, body)):
            raise GatewayError(f"{self.path} is damaged, or made with another pepper")
        content = orjson.loads(body)
        if content["source"] != self._source:
            raise GatewayError(f"{self.path} is of another database")
        records = [_record(row) for row in content["keys"]]
        return Snapshot(content["version"], records, status.st_mtime)


def _mac(pepper: str, body: bytes) -> bytes:
    return hmac.digest(pepper.encode(), _PURPOSE + body, "sha256").hex().encode()


def _row(record: ApiKeyRecord) -> dict[str, Any]:
    row = asdict(record)
    row["hash"] = record.hash.hex()
    return {key: sorted(value) if key in _SETS else value for key, value in row.items()}


def _record(row: dict[str, Any]) -> ApiKeyRecord:
    if row.keys() != _FIELDS:
        raise GatewayError("the snapshot of API keys is of another version of gatewayd")
    sets = {key: frozenset(row[key]) for key in _SETS}
    networks = tuple(row["networks"])
    return ApiKeyRecord(**{**row, **sets, "networks": networks, "hash": bytes.fromhex(row["hash"])})
