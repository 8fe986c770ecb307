"""The audit trail: what the gateway refused, and what was changed, by whom.

Recording never blocks and never fails the exchange that it is about.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("gatewayd.audit")


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


class Audit:
    """Takes audit events; one for each worker, shared by its generations."""

    def record(self, event: AuditEvent) -> None:
        """Take one event."""
        logger.info("%s %s: %s", event.action, event.outcome, event.reason)
