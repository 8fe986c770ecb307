"""The audit trail: what the gateway refused, and what was changed, by whom."""

from gatewayd.audit.event import AuditEvent
from gatewayd.audit.trail import Audit, record_now

__all__ = ["Audit", "AuditEvent", "record_now"]
