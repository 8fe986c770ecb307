"""What tells the gateway the instances of a service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

from gatewayd.config.model import Checked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """An instance as discovery knows it.

    Attributes:
        url: ``http://host:port`` or ``https://host:port``.
        weight: Relative share of the requests; 0 takes the instance out.
        zone: Where it stands; empty where unknown.
        healthy: What the source says of its health.

    """

    url: str
    weight: int = 1
    zone: str = ""
    healthy: bool = True


class DiscoveryConfig(Checked):
    """Base of a discovery's settings, which stand among the keys of the service."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


class Discovery:
    """Follows the instances of one service; entry-point group ``gatewayd.discovery``.

    Args:
        service: Name of the service.
        config: The discovery's settings, validated with its ``Config``.

    """

    name: ClassVar[str]
    """Entry-point name, the value of ``discovery`` in the service."""

    Config: ClassVar[type[DiscoveryConfig]] = DiscoveryConfig
    """Pydantic model of the settings."""

    def __init__(self, service: str, config: Any) -> None:
        self.service = service
        self.config = config

    async def start(self, update: Callable[[Sequence[InstanceSpec]], None]) -> None:
        """Call ``update`` with all instances, now and whenever they change.

        Returns once the first answer is there or is known to be late; a source that is down is
        logged and asked again, it does not keep the gateway from starting.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Stop following."""
