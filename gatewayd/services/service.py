"""A named upstream with its instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayd.config.schema import ServiceConfig
    from gatewayd.services.instance import Instance


class Service:
    """A named upstream.

    Attributes:
        name: Its name.
        config: Its settings.
        instances: All instances, by URL, in the order in which discovery tells them.
        available: Those that a balancer may pick; a tuple that is replaced, never changed.

    """

    __slots__ = ("available", "config", "instances", "name")

    def __init__(self, name: str, config: ServiceConfig) -> None:
        self.name = name
        self.config = config
        self.instances: Mapping[str, Instance] = {}
        self.available: tuple[Instance, ...] = ()

    def replace(self, instances: Iterable[Instance]) -> None:
        """Take over a new list of instances."""
        self.instances = {instance.url: instance for instance in instances}
        self.refresh()

    def refresh(self) -> None:
        """Compute ``available`` again after the health or weight of an instance changed."""
        self.available = tuple(one for one in self.instances.values() if one.available)

    def __repr__(self) -> str:
        return f"<service {self.name}: {len(self.available)} of {len(self.instances)} available>"
