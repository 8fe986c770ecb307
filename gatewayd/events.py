"""Changes of state that others in the worker may want to know of, such as metrics.

An event is an object of a class of its own, which says what it means; there are no names to
register. Events are rare: what happens for every exchange is the business of filters.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

E = TypeVar("E")
logger = logging.getLogger("gatewayd.events")


class Events:
    """The listeners of one worker, which outlive generations."""

    def __init__(self) -> None:
        self._listeners: dict[type[Any], list[Callable[[Any], None]]] = {}

    def listen(self, kind: type[E], listener: Callable[[E], None]) -> None:
        """Call ``listener`` with every event of class ``kind``, at once; it must not block."""
        self._listeners.setdefault(kind, []).append(listener)

    def forget(self, kind: type[E], listener: Callable[[E], None]) -> None:
        """Undo :meth:`listen`, as a filter does in its ``close``."""
        self._listeners[kind].remove(listener)

    def publish(self, event: object) -> None:
        """Tell the listeners of an event; what one of them raises is logged."""
        for listener in tuple(self._listeners.get(type(event), ())):
            try:
                listener(event)
            except Exception:
                # It must not fail the exchange in which something happened to change.
                logger.exception("a listener for %r failed", event)
