"""What a balancer derives from a list of instances, made once per list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd import Instance

T = TypeVar("T")

_KEPT = 4
"""Lists that are remembered: own zone, other zones, and those of a few attempts that are made
again, which come between."""


class PerList(Generic[T]):
    """Remembers what was made of the last few lists.

    A list is known by its identity, which costs nothing to compare: a service replaces the list of
    its instances when something changes, and never changes it.

    Args:
        make: Derives the value from a list.

    """

    def __init__(self, make: Callable[[Sequence[Instance]], T]) -> None:
        self._make = make
        self._kept: list[tuple[Sequence[Instance], T]] = []

    def __call__(self, instances: Sequence[Instance]) -> T:
        """Return what is made of ``instances``."""
        kept = self._kept
        if kept and kept[0][0] is instances:
            return kept[0][1]
        entry = next((one for one in kept if one[0] is instances), None)
        if entry is None:
            entry = (instances, self._make(instances))
            del kept[_KEPT - 1 :]
        else:
            kept.remove(entry)
        kept.insert(0, entry)
        return entry[1]
