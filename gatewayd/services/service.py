"""A named upstream with its instances."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayd.config.schema import ServiceConfig
    from gatewayd.services.instance import Instance
    from gatewayd.timers import Clock


class Service:
    """A named upstream.

    Args:
        name: Its name.
        config: Its settings.
        clock: The gateway's clock.

    Attributes:
        name: Its name.
        config: Its settings.
        instances: All instances, by URL, in the order in which discovery tells them.
        available: Those that a balancer may pick; a tuple that is replaced, never changed.
        usable: Those that discovery lets be picked, healthy or not: what is left to a balancer
            that panics because too few are available. Like ``available``.

    """

    __slots__ = ("_clock", "_started", "available", "config", "instances", "name", "usable")

    def __init__(self, name: str, config: ServiceConfig, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._started = False
        self.name = name
        self.config = config
        self.instances: Mapping[str, Instance] = {}
        self.available: tuple[Instance, ...] = ()
        self.usable: tuple[Instance, ...] = ()

    def replace(self, instances: Iterable[Instance]) -> None:
        """Take over a new list of instances."""
        self.instances = {instance.url: instance for instance in instances}
        self.refresh()

    def refresh(self) -> None:
        """Compute ``available`` again after the health or weight of an instance changed."""
        before = self.available
        self.usable = tuple(one for one in self.instances.values() if one.usable)
        self.available = tuple(one for one in self.usable if one.available)
        if self._started:  # the instances of a start are not new beside others
            now = self._clock()
            for instance in set(self.available).difference(before):
                instance.since = now
        self._started = bool(self.instances)

    def __repr__(self) -> str:
        return f"<service {self.name}: {len(self.available)} of {len(self.instances)} available>"
