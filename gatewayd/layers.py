"""Settings of a filter, put together from the layers that a configuration has.

Layers by rising precedence: ``[filters.NAME]`` for the gateway, ``[services.S.filters.NAME]``,
``[[routes]] filters.NAME``. They are merged key by key; the value of a key is replaced as a whole,
also where it is a table. ``false`` removes the filter, ``true`` or a table brings it back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd.config.places import KeyPath
    from gatewayd.config.schema import GatewayConfig, RouteConfig


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place of the configuration says about one filter.

    Attributes:
        path: Where it stands, such as ``("routes", 3, "filters", "cors")``.
        value: Settings, or whether the filter is there at all.

    """

    path: KeyPath
    value: Mapping[str, Any] | bool


@dataclass(frozen=True, slots=True)
class Settings:
    """Merged settings of one filter, before validation.

    Attributes:
        values: The settings.
        origins: For each key, the path of the layer that it came from.
        path: The most specific layer that said anything; for errors about the whole.

    """

    values: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, KeyPath] = field(default_factory=dict)
    path: KeyPath = ()

    @property
    def identity(self) -> bytes:
        """Bytes that are equal for equal settings, wherever they came from."""
        return json.dumps(self.values, sort_keys=True, default=str).encode()


def merge(name: str, layers: Sequence[Layer]) -> Settings | None:
    """Merge layers, the most general first; ``None`` where the filter is removed."""
    values: dict[str, Any] = {}
    origins: dict[str, KeyPath] = {}
    path: KeyPath = ("filters", name)
    present = True
    for layer in layers:
        path = layer.path
        present = layer.value is not False
        if not isinstance(layer.value, bool):
            values.update(layer.value)
            origins.update(dict.fromkeys(layer.value, layer.path))
    return Settings(values, origins, path) if present else None


def layers_of(
    config: GatewayConfig, name: str, *, route: int | None = None, service: str | None = None
) -> list[Layer]:
    """Collect what the configuration says about filter ``name``, the most general layer first.

    Args:
        config: The configuration.
        name: The filter.
        route: Index of the route, for filters that are compiled per route.
        service: Name of the service that the route goes to.

    """
    layers = []
    if name in config.filters:
        layers.append(Layer(("filters", name), config.filters[name]))
    if service is not None and name in config.services[service].filters:
        value = config.services[service].filters[name]
        layers.append(Layer(("services", service, "filters", name), value))
    if route is not None:
        route_config: RouteConfig = config.routes[route]
        if name in route_config.filters:
            layers.append(Layer(("routes", route, "filters", name), route_config.filters[name]))
    return layers
