"""The ids of revoked tokens as they were last known, for a start without the database.

Nothing in the file is secret, but whoever can write it can make a revoked token count again: it is
used only where nobody but its owner can. Its time of modification says until when it was known to
be true.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson

from gatewayd import GatewayError
from gatewayd_filters.auth.private_file import PrivateFile

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_IDS = 100_000
"""Ids that are kept; a list beyond that is not, and no older one in its place."""

_MAX_BYTES = 64 * 1024 * 1024
_OTHERS_MAY_WRITE = 0o022


class RevokedFile(PrivateFile):
    """The revoked tokens of one database."""

    def save(self, ids: Collection[str]) -> None:
        """Replace the file; blocks.

        Raises:
            OSError: it cannot be written.
            GatewayError: there are too many ids; the file is gone.

        """
        if len(ids) > MAX_IDS:
            self.path.unlink(missing_ok=True)
            raise GatewayError(f"{len(ids)} ids are more than are kept ({MAX_IDS})")
        self._replace(orjson.dumps({"source": self._source, "ids": sorted(ids)}))

    def load(self) -> tuple[frozenset[str], float]:
        """Return the ids and when they were last known to be right, of the Unix clock; blocks.

        Raises:
            OSError: it cannot be read.
            GatewayError: it is damaged, of another database, or others may write it.

        """
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_MAX_BYTES)
        if status.st_mode & _OTHERS_MAY_WRITE or status.st_uid != os.geteuid():
            raise GatewayError(f"others than its owner may write {self.path}")
        try:
            content = orjson.loads(data)
            source, ids = content["source"], frozenset(map(str, content["ids"]))
        except (ValueError, KeyError, TypeError) as error:
            raise GatewayError(f"{self.path} is damaged") from error
        if source != self._source:
            raise GatewayError(f"{self.path} is of another database")
        return ids, status.st_mtime
