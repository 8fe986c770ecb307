"""Discovery ``static``: the instances stand in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gatewayd.config.schema import InstanceConfig  # noqa: TC001  # pydantic needs it
from gatewayd.services.discovery import Discovery, DiscoveryConfig, InstanceSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StaticConfig(DiscoveryConfig):
    """Settings of the discovery `static`."""

    instances: list[InstanceConfig] = Field(min_length=1)
    """The instances of the service."""


class StaticDiscovery(Discovery):
    """Tells the instances that the configuration names, once."""

    name = "static"
    Config = StaticConfig

    config: StaticConfig

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        """See :meth:`Discovery.start`."""
        update(
            [
                InstanceSpec(one.url, one.weight, one.zone, one.healthy)
                for one in self.config.instances
            ]
        )
