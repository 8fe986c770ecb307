"""What a route asks of its callers, compiled to set operations; and why somebody has it or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gatewayd_filters.rbac.config import AllPermissions, AllRoles, AnyPermission, AnyRole
from gatewayd_filters.rbac.roles import satisfying

if TYPE_CHECKING:
    from gatewayd import Principal
    from gatewayd_filters.rbac.config import RbacConfig
    from gatewayd_filters.rbac.roles import Roles


class Decision(Struct, frozen=True):
    """Whether a caller may, and which rule says so.

    Attributes:
        allowed: Whether.
        rule: The rule, for operators.

    """

    allowed: bool
    rule: str


class Requirement:
    """What a route asks for.

    Args:
        config: The filter's settings.
        roles: The roles.

    """

    def __init__(self, config: RbacConfig, roles: Roles) -> None:
        self._roles = roles
        self._with_scopes = config.scopes_are_permissions
        wanted, asked = config.required_roles, config.required_permissions
        # Of a list of roles one is enough, of a list of permissions each is needed.
        self._any_role: frozenset[str] = frozenset()
        self._all_roles: frozenset[str] = frozenset()
        if isinstance(wanted, AllRoles):
            self._all_roles = frozenset(wanted.all)
        elif wanted is not None:
            self._any_role = frozenset(wanted.any if isinstance(wanted, AnyRole) else wanted)
        self._any_permission: tuple[str, ...] = ()
        self._all_permissions: tuple[str, ...] = ()
        if isinstance(asked, AnyPermission):
            self._any_permission = asked.any
        elif asked is not None:
            self._all_permissions = asked.all if isinstance(asked, AllPermissions) else asked
        self._grants_of = {
            permission: satisfying(permission)
            for permission in (*self._any_permission, *self._all_permissions)
        }
        self.stated = wanted is not None or asked is not None

    def decide(self, principal: Principal) -> Decision:
        """Return whether a caller has what the route asks for."""
        held = self._roles.held(principal.roles)
        if self._any_role and self._any_role.isdisjoint(held):
            return Decision(False, f"none of the roles {_listed(self._any_role)}")
        if missing := self._all_roles - held:
            return Decision(False, f"not the role {min(missing)}")
        grants = self._roles.grants(principal.roles) | principal.permissions
        if self._with_scopes:
            grants |= principal.scopes
        for permission in self._all_permissions:
            if self._grants_of[permission].isdisjoint(grants):
                return Decision(False, f"not the permission {permission}")
        having = [one for one in self._any_permission if self._grants_of[one] & grants]
        if self._any_permission and not having:
            return Decision(False, f"none of the permissions {_listed(self._any_permission)}")
        decisive = [*self._all_permissions, *having[:1]]
        return Decision(True, self._granted_by(principal, held, decisive))

    def _granted_by(
        self, principal: Principal, held: frozenset[str], permissions: list[str]
    ) -> str:
        """Say which roles and grants were decisive."""
        named = sorted(self._any_role & held)[:1] + sorted(self._all_roles)
        rules = [f"role {self._line(principal, role)}" for role in named]
        for permission in permissions:
            source = self._roles.source_of(principal.roles, self._grants_of[permission])
            if source is not None:
                rules.append(f"{permission} by {source[1]} of role {' -> '.join(source[0])}")
            else:
                rules.append(f"{permission} of the caller's own")
        return ", ".join(rules)

    def _line(self, principal: Principal, role: str) -> str:
        return " -> ".join(self._roles.line_to(principal.roles, role))


def _listed(names: frozenset[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names))
