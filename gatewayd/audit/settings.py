"""Settings of the audit trail."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gatewayd.config.model import Model
from gatewayd.config.types import Seconds


class AuditConfig(Model):
    """The audit trail: authentication failures, denials, key changes, reloads, admin calls."""

    sinks: tuple[Literal["log", "store"], ...] = ("log", "store")
    """Where events go: lines of the log `gatewayd.audit`, rows of the store. The embedded store is
    written to where it is there; it is not made for the audit trail alone."""
    exclude: tuple[str, ...] = ()
    """Actions that are left out, such as `reload`."""
    interval: Seconds = 1.0
    """How often events are written. Failures that are alike in action, reason, route and client are
    one row with a count within it, as somebody who tries keys must not fill the database."""
    queue_size: int = Field(10_000, ge=1, le=1_000_000)
    """Events that wait while the store is away or slow, per worker; those beyond are counted."""
    batch_size: int = Field(500, ge=1, le=10_000)
    """Most rows written at once, and so in one interval."""
    retention: int = Field(90, ge=1, le=36_500)
    """Days after which rows are deleted from the store."""
    close_timeout: Seconds = 2.0
    """Time at the end for what still waits."""
