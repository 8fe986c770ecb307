"""Settings of the filter ``rbac``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gatewayd import FilterConfig

RoleName = Annotated[str, Field(min_length=1, max_length=255)]
_SEGMENT = r"(?:\*|[A-Za-z0-9_.@/-]+)"
Grant = Annotated[str, Field(pattern=rf"^{_SEGMENT}(?::{_SEGMENT}){{0,3}}$", max_length=255)]
"""What a role gives: segments with colons between them, each of which may be `*`."""
Permission = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.@/-]+(?::[A-Za-z0-9_.@/-]+){0,3}$", max_length=255)
]
"""What a route asks for: the same without wildcards."""


class RoleConfig(FilterConfig):
    """A role."""

    inherits: tuple[RoleName, ...] = ()
    """Roles whose permissions it has as well; whoever has it counts as having them."""
    permissions: tuple[Grant, ...] = ()
    """What it permits: `resource:action`; `servers:*`, `*:read`, `*` for everything."""


class AnyRole(FilterConfig):
    """One of several roles."""

    any: tuple[RoleName, ...] = Field(min_length=1)
    """Roles of which one is enough."""


class AllRoles(FilterConfig):
    """Several roles at once."""

    all: tuple[RoleName, ...] = Field(min_length=1)
    """Roles of which each is needed."""


class AnyPermission(FilterConfig):
    """One of several permissions."""

    any: tuple[Permission, ...] = Field(min_length=1)
    """Permissions of which one is enough."""


class AllPermissions(FilterConfig):
    """Several permissions at once."""

    all: tuple[Permission, ...] = Field(min_length=1)
    """Permissions of which each is needed."""


class RbacConfig(FilterConfig):
    """Settings of `rbac`.

    A route says who may use it by `roles`, `permissions` or `auth_required`. Where it says none of
    them, `default` decides.
    """

    default: Literal["deny", "allow"] = "deny"
    """What becomes of requests for routes that do not say who may use them."""
    roles: dict[RoleName, tuple[Grant, ...] | RoleConfig] = Field(default={}, max_length=10_000)
    """The roles: a list of permissions, or a table with `inherits` and `permissions`."""
    required_roles: (
        Annotated[tuple[RoleName, ...], Field(min_length=1)] | AnyRole | AllRoles | None
    ) = None
    """Roles that a caller must have; of a list any one, as a role stands for a kind of caller. A
    route's shorthand is `roles`."""
    required_permissions: (
        Annotated[tuple[Permission, ...], Field(min_length=1)]
        | AnyPermission
        | AllPermissions
        | None
    ) = None
    """Permissions that a caller must have; of a list all, as each stands for a part of what the
    route does. A route's shorthand is `permissions`; where both stand there, both must hold."""
    scopes_are_permissions: bool = False
    """Whether the scopes of a token count as permissions of its bearer."""
    mode: Literal["enforce", "shadow"] = "enforce"
    """`shadow`: decide, count and tell the audit trail, but let everybody pass."""

    @model_validator(mode="after")
    def _roles_are_known(self) -> RbacConfig:
        for name, role in self.roles.items():
            for parent in role.inherits if isinstance(role, RoleConfig) else ():
                if parent not in self.roles:
                    raise ValueError(f"role {name!r} inherits {parent!r}, which is not defined")
        return self
