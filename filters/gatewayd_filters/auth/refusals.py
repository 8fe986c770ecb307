"""What becomes of a request that is not authenticated: the answer, the log, the audit trail.

The client learns whether it has shown a credential that the gateway does not accept, and never why.
The operator learns why, in the log, the audit trail and the counters. Log lines are bounded, as
whoever guesses keys would fill the disk with them; counters are not.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gatewayd import AuditEvent, Reject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatewayd import (
        Audit,
        AuthMethod,
        AuthUnavailable,
        Exchange,
        FilterConfig,
        Gateway,
        InvalidCredential,
    )

LINES, SECONDS = 20, 10.0
"""Lines that are logged in so many seconds: enough to see what goes on, 15 MB a day at most."""
RETRY_AFTER = ("Retry-After", "2")
"""Seconds; within them a database or a key server that has come back is noticed."""

logger = logging.getLogger("gatewayd.filters.auth")


class Refusals:
    """Makes refusals, and tells of them; shared by the routes of one generation.

    Args:
        gateway: Where they are counted and accounted for.

    """

    def __init__(self, gateway: Gateway) -> None:
        self._audit: Audit = gateway.audit
        self._limit = LineLimit(gateway.clock)
        self.counter = gateway.metrics.counter(
            "gatewayd_authentications",
            "Authentications by method and result; a failure's result is its reason.",
            ("method", "result"),
            max_cells=256,
        )
        self._missing = self.counter.labels("none", "missing")

    def missing(self, challenges: Challenges) -> Reject:
        """Refuse a request that shows no credential (RFC 6750 section 3.1: without an error)."""
        self._missing.value += 1
        return Reject(
            401, "authentication_required", "This resource needs a credential.", challenges.plain
        )

    def invalid(
        self, method: str, why: InvalidCredential, exchange: Exchange, challenges: Challenges
    ) -> Reject:
        """Refuse a credential, with the same words whatever is wrong with it."""
        self.counter.labels(method, why.reason).value += 1
        request, route = exchange.request, exchange.route
        name = "" if route is None else route.name
        if self._limit.allows():
            logger.warning(
                "request %s from %s: %s of %r refused: %s",
                exchange.id, request.peer.address, method, why.actor or "unknown", why.reason,
            )  # fmt: skip
        self._audit.record(
            AuditEvent(
                action="authentication",
                outcome="failure",
                reason=why.reason,
                actor=why.actor,
                request_id=exchange.id,
                route=name,
                method=request.method,
                path=request.path,
                client=request.peer.address,
                detail={"method": method},
            )
        )
        return Reject(
            401, "invalid_credential", "The credential is not valid.", challenges.error[method]
        )

    def unavailable(self, method: str, why: AuthUnavailable) -> Reject:
        """Refuse for now what cannot be judged; it is not the caller's fault."""
        self.counter.labels(method, "unavailable").value += 1
        if self._limit.allows():
            logger.error("%s cannot be judged, as %s", method, why)
        detail = "The credential cannot be checked now."
        return Reject(503, "authentication_unavailable", detail, [RETRY_AFTER])


class Challenges:
    """What ``WWW-Authenticate`` says (RFC 9110 section 11.6.1), one line for each method.

    Args:
        methods: The methods that a route accepts.
        realm: The protected space.

    Attributes:
        plain: The lines where no credential was shown.
        error: The lines where one was, by the method that it was shown to.

    """

    def __init__(self, methods: Iterable[AuthMethod[FilterConfig]], realm: str) -> None:
        lines = {one.name: f'{one.challenge} realm="{realm}"' for one in methods}
        self.plain = [("WWW-Authenticate", line) for line in dict.fromkeys(lines.values())]
        self.error = {
            name: [
                ("WWW-Authenticate", f'{line}, error="invalid_token"' if line == own else line)
                for line in dict.fromkeys(lines.values())
            ]
            for name, own in lines.items()
        }


class LineLimit:
    """Allows so many log lines in a window of time, and tells how many were left out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends_at = 0.0
        self._left = 0
        self._omitted = 0

    def allows(self) -> bool:
        """Whether another line may be written."""
        now = self._clock()
        if now >= self._ends_at:
            if self._omitted:
                logger.warning("%d refusals were not logged", self._omitted)
            self._ends_at, self._left, self._omitted = now + SECONDS, LINES, 0
        if self._left:
            self._left -= 1
            return True
        self._omitted += 1
        return False
