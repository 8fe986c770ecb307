"""Roles and permissions: whether an authenticated caller may use a route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from gatewayd import AuditEvent, Filter, Reject
from gatewayd_filters.rbac.config import RbacConfig
from gatewayd_filters.rbac.requirement import Decision, Requirement
from gatewayd_filters.rbac.roles import Roles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gatewayd import Cell, Exchange, Forward, Gateway, Principal, Response

__all__ = ["Rbac", "RbacConfig"]

# Decisions remembered, for all routes together: for each requirement there are as many as callers
# differ in what they may, which identity providers decide. Dropped as a whole when there are more;
# a decision takes some 5 us.
_REMEMBERED = 16_384

_BY_DEFAULT = Decision(True, "default")
_OPEN = Decision(True, "auth_required = false")
_AUTHENTICATED = Decision(True, "auth_required = true")
_NOBODY_NAMED = Decision(False, "the route does not say who may use it, and the default is deny")
_ANONYMOUS = Decision(False, "not authenticated")


def _shorthand(key: str) -> Callable[[Any], Mapping[str, Any]]:
    return lambda value: {key: value}


class Rbac(Filter[RbacConfig]):
    """Let only callers pass who have the roles and permissions that the route asks for."""

    name = "rbac"
    Config = RbacConfig
    requires = frozenset({"principal"})
    route_keys: ClassVar[Mapping[str, Callable[[Any], Mapping[str, Any]]]] = {
        "roles": _shorthand("required_roles"),
        "permissions": _shorthand("required_permissions"),
    }

    def __init__(self, config: RbacConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        # The same for all routes that use the same roles, which are most.
        key = ("rbac roles", config.model_dump_json(include={"roles"}))
        self._requirement = Requirement(config, gateway.keep(key, lambda: Roles(config)))
        self._stated = self._requirement.stated
        self._enforce = config.mode == "enforce"
        self._default = _BY_DEFAULT if config.default == "allow" else _NOBODY_NAMED
        self._decided: dict[tuple[object, ...], Decision] = gateway.keep(
            ("rbac decisions", gateway), dict
        )
        self._counter = gateway.metrics.counter(
            "gatewayd_rbac_decisions", "Decisions about callers.", ("decision", "route")
        )
        self._cells: dict[tuple[str, bool], Cell] = {}

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 403 ``access_denied``.

        """
        decision = self.decide(exchange.principal, exchange.auth_required)
        route = exchange.route
        key = "" if route is None else route.name, decision.allowed
        (self._cells.get(key) or self._cell(*key)).value += 1
        if decision.allowed:
            return forward(exchange)
        self._record(exchange, decision)
        if self._enforce:
            raise Reject(403, "access_denied", "The caller may not use this route.")
        return forward(exchange)

    def _cell(self, route: str, allowed: bool) -> Cell:
        """Return where decisions are counted, and remember it; there are two for each route."""
        refused = "denied" if self._enforce else "shadow_denied"
        cell = self._counter.labels("allowed" if allowed else refused, route)
        self._cells[route, allowed] = cell
        return cell

    def decide(self, principal: Principal | None, auth_required: bool | None) -> Decision:
        """Return the decision about a caller.

        Args:
            principal: Who calls; ``None`` for somebody who has not authenticated.
            auth_required: What the route says of authentication, ``None`` where it says nothing.

        """
        if not self._stated:
            if auth_required is None:
                return self._default
            if not auth_required:
                return _OPEN
            return _ANONYMOUS if principal is None else _AUTHENTICATED
        if principal is None:
            return _ANONYMOUS
        key = (self._requirement, principal.roles, principal.permissions, principal.scopes)
        decision = self._decided.get(key)
        if decision is None:
            if len(self._decided) >= _REMEMBERED:
                self._decided.clear()
            decision = self._decided[key] = self._requirement.decide(principal)
        return decision

    def _record(self, exchange: Exchange, decision: Decision) -> None:
        principal, route, request = exchange.principal, exchange.route, exchange.request
        self.gateway.audit.record(
            AuditEvent(
                action="access",
                outcome="denied",
                reason=decision.rule,
                actor="" if principal is None else principal.id,
                request_id=exchange.id,
                route="" if route is None else route.name,
                method=request.method,
                path=request.path,
                client=request.peer.address,
                detail={} if self._enforce else {"mode": "shadow"},
            )
        )
