"""The installed plugins of all kinds, without importing them."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple

from gatewayd.registry import distribution

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_GROUPS = {
    "filter": "gatewayd.filters",
    "discovery": "gatewayd.discovery",
    "balancer": "gatewayd.balancers",
    "authentication": "gatewayd.authentication",
}


class Installed(NamedTuple):
    """An installed plugin.

    Attributes:
        kind: ``filter``, ``discovery``, ``balancer`` or ``authentication``.
        name: Its name.
        value: Module and class.
        distribution: Name and version of what it was installed with.

    """

    kind: str
    name: str
    value: str
    distribution: str


def installed() -> list[Installed]:
    """Return the installed plugins, sorted; a name that is defined twice is there twice."""
    return [
        Installed(kind, point.name, point.value, distribution(point))
        for kind, group in _GROUPS.items()
        for point in sorted(set(entry_points(group=group)), key=_order)
    ]


def _order(point: EntryPoint) -> tuple[str, str]:
    return point.name, point.value
