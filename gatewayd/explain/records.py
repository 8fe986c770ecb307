"""Records of explained exchanges, kept for whoever asks for them later."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

_MAX_RECORDS = 64


class Records:
    """The records of the last exchanges that were explained, by request id."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def add(self, record: dict[str, Any]) -> None:
        """Keep a record; the oldest one makes room."""
        self._records[record["id"]] = record
        self._records.move_to_end(record["id"])  # ids of trusted peers may come again
        if len(self._records) > _MAX_RECORDS:
            self._records.popitem(last=False)

    def get(self, request_id: str) -> dict[str, Any] | None:
        """Return a record, ``None`` where there is none any more."""
        return self._records.get(request_id)
