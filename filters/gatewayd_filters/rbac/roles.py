"""Roles, compiled: what each stands for with all that it inherits."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from gatewayd import ConfigError, ConfigIssue
from gatewayd_filters.rbac.config import RoleConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayd_filters.rbac.config import RbacConfig

MAX_DEPTH = 32
"""Longest line of inheritance; a longer one is a mistake."""


class Roles:
    """The roles of a configuration.

    Args:
        config: The filter's settings.

    Raises:
        ConfigError: roles inherit each other in a circle, or in too long a line.

    """

    def __init__(self, config: RbacConfig) -> None:
        self._own: dict[str, frozenset[str]] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        for name, role in config.roles.items():
            if isinstance(role, RoleConfig):
                permissions, parents = role.permissions, role.inherits
            else:
                permissions, parents = role, ()
            self._own[name] = frozenset(permissions)
            self._parents[name] = parents
        # Each role with all that it inherits.
        self._lineages: dict[str, frozenset[str]] = {}
        for name in self._own:
            self._find_lineage(name, ())
        self._grants = {
            name: frozenset[str]().union(*(self._own[one] for one in lineage))
            for name, lineage in self._lineages.items()
        }

    def _find_lineage(self, name: str, line: tuple[str, ...]) -> frozenset[str]:
        if name in line or len(line) > MAX_DEPTH:
            circle = " -> ".join([*line[-4:], name])
            raise ConfigError(ConfigIssue(f"roles inherit each other: {circle}", key="roles"))
        if name not in self._lineages:
            inherited = (
                self._find_lineage(parent, (*line, name)) for parent in self._parents[name]
            )
            self._lineages[name] = frozenset({name}).union(*inherited)
        return self._lineages[name]

    def held(self, roles: Iterable[str]) -> frozenset[str]:
        """Return roles with all that they inherit; unknown ones stand for themselves."""
        return frozenset[str]().union(*(self._lineages.get(one, {one}) for one in roles))

    def grants(self, roles: Iterable[str]) -> frozenset[str]:
        """Return what roles permit; unknown ones permit nothing."""
        return frozenset[str]().union(*(self._grants.get(one, ()) for one in roles))

    def line_to(self, roles: Iterable[str], wanted: str) -> list[str]:
        """Return how one of the roles comes to another, by inheritance; empty where none does."""
        for role in sorted(roles):
            if wanted == role:
                return [role]
            if wanted in self._lineages.get(role, ()):
                return [role, *self.line_to(self._parents[role], wanted)]
        return []

    def source_of(
        self, roles: Iterable[str], grants: Iterable[str]
    ) -> tuple[list[str], str] | None:
        """Return the line to a role that has one of these grants, and the grant."""
        wanted = frozenset(grants)
        for role in sorted(self.held(roles) & self._own.keys()):
            for grant in sorted(self._own[role] & wanted):
                return self.line_to(roles, role), grant
        return None


def satisfying(permission: str) -> frozenset[str]:
    """Return every grant that gives a permission.

    A segment is given by itself or by ``*``, and a last ``*`` gives all that follows: ``a:b:c`` is
    given by ``a:b:c``, ``a:*:c``, ``a:*``, ``*`` and so on. With four segments these are 30.
    """
    segments = permission.split(":")
    found: set[str] = set()
    for length in range(1, len(segments) + 1):
        for choice in product((False, True), repeat=length):
            if length < len(segments) and not choice[-1]:
                continue
            chosen = zip(segments, choice, strict=False)
            found.add(":".join("*" if any_ else segment for segment, any_ in chosen))
    return frozenset(found)
