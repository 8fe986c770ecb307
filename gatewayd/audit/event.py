"""Events of the audit trail."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

# Widths of the table's columns; what is longer is cut, not refused.
_WIDTHS = {"action": 64, "outcome": 16, "reason": 255, "actor": 255, "request_id": 128,
           "route": 128, "method": 32, "path": 1024, "client": 64}  # fmt: skip

_MAX_DETAIL = 4096  # bytes of JSON; names and numbers need a few hundred


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened.

    Attributes:
        action: What: ``authentication``, ``access``, ``key.create``, ``reload``, ``admin.drain``...
        outcome: ``success``, ``failure`` or ``denied``.
        reason: Why, for operators; never a secret.
        actor: Id of the principal or user; ``""`` where unknown.
        request_id, route, method, path, client: Of the exchange, where there is one.
        detail: More of it; names and numbers, never secrets.

    """

    action: str
    outcome: Literal["success", "failure", "denied"]
    reason: str = ""
    actor: str = ""
    request_id: str = ""
    route: str = ""
    method: str = ""
    path: str = ""
    client: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def likeness(self) -> tuple[object, ...]:
        """What is equal for events that are written as one.

        Who fails to authenticate chooses path and claimed name, so these do not count; who is
        denied is known. Whatever succeeds is told by itself.
        """
        if self.outcome == "success":
            return (object(),)
        who = self.actor if self.outcome == "denied" else ""
        return (self.action, self.outcome, self.reason, self.route, self.client, who)

    def row(self, at: int, node: str) -> dict[str, Any]:
        """Return it as the store has it: of what clients chose, only what any sink can take.

        Args:
            at: Microseconds of the Unix clock.
            node: Where it happened.

        """
        texts = {name: _encodable(getattr(self, name)[:width]) for name, width in _WIDTHS.items()}
        return {"at": at, "node": node, **texts, "count": 1, "detail": _plain(self.detail)}


def _encodable(text: str) -> str:
    """Replace lone surrogates: JSON may hold them (RFC 8259 section 8.2), UTF-8 may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold of it; only its size where that is too much."""
    if not detail:
        return {}
    text = _encodable(json.dumps(dict(detail), default=str, ensure_ascii=False))
    size = len(text.encode())
    if size > _MAX_DETAIL:
        return {"omitted_bytes": size}
    plain: dict[str, Any] = json.loads(text)
    return plain
