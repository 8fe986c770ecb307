"""Plugins by entry point: found by name, imported only when a configuration names them."""

from __future__ import annotations

import difflib
import sys
from collections import defaultdict
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import TYPE_CHECKING, Generic, TypeVar

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatewayd.authentication import AuthMethod
    from gatewayd.filter import Filter, FilterConfig
    from gatewayd.services.balancer import Balancer
    from gatewayd.services.discovery import Discovery

T = TypeVar("T")


class PluginError(GatewayError):
    """A plugin is missing, defined twice, or cannot be loaded."""


class Registry(Generic[T]):
    """The plugins of one entry-point group.

    Args:
        group: Entry-point group, such as ``gatewayd.filters``.
        base: Class that every plugin of the group derives from.
        points: Entry points to use instead of the installed ones, for tests.

    """

    def __init__(
        self, group: str, base: type[T], points: Iterable[EntryPoint] | None = None
    ) -> None:
        self.group = group
        self._base = base
        self._loaded: dict[str, type[T]] = {}
        found: defaultdict[str, list[EntryPoint]] = defaultdict(list)
        for point in installed(group) if points is None else points:
            if point not in found[point.name]:
                found[point.name].append(point)
        self._points = dict(found)

    @property
    def names(self) -> list[str]:
        """Names of all installed plugins of the group, sorted."""
        return sorted(self._points)

    def load(self, name: str) -> type[T]:
        """Import the plugin ``name`` and check that it is what it says.

        Raises:
            PluginError: no such plugin, two distributions define it, its import fails, or it is
                not a subclass of the group's base with this name and settings of the base's kind.

        """
        if name not in self._loaded:
            self._loaded[name] = self._import(self.point(name))
        return self._loaded[name]

    def point(self, name: str) -> EntryPoint:
        """Return the one entry point of that name; raises as :meth:`load` does."""
        points = self._points.get(name)
        if points is None:
            nearest = difflib.get_close_matches(name, self.names, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise PluginError(
                f"no plugin {name!r} in {self.group}{hint} (installed: {', '.join(self.names)})"
            )
        if len(points) > 1:
            where = " and ".join(f"{point.value} ({distribution(point)})" for point in points)
            raise PluginError(f"plugin {name!r} of {self.group} is defined twice: {where}")
        return points[0]

    def _import(self, point: EntryPoint) -> type[T]:
        origin = f"plugin {point.name!r} ({point.value}, {distribution(point)})"
        try:
            plugin = point.load()
        except (Exception, SystemExit) as error:  # a script's exit must not be the gateway's
            raise PluginError(f"{origin} cannot be imported: {error!r}") from error
        if not (isinstance(plugin, type) and issubclass(plugin, self._base)):
            raise PluginError(f"{origin} is not a subclass of {self._base.__name__}")
        if getattr(plugin, "name", None) != point.name:
            raise PluginError(f"{origin} calls itself {getattr(plugin, 'name', None)!r}")
        config, base = (getattr(one, "Config", None) for one in (plugin, self._base))
        # A model of another base would take unknown keys; what is no model could not be asked.
        if isinstance(base, type) and not (isinstance(config, type) and issubclass(config, base)):
            raise PluginError(f"{origin}: its Config is not a subclass of {base.__name__}")
        return plugin

    def __contains__(self, name: str) -> bool:
        return name in self._points

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


def installed(group: str) -> EntryPoints:
    """Return the entry points of a group; what is installed while a process runs, it never sees."""
    return _installed(group, tuple(sys.path))


# To find those of one group reads a file of every distribution: 8 ms for a hundred of them.
@lru_cache(maxsize=8)
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:  # noqa: ARG001  # read by it
    return entry_points(group=group)


def distribution(point: EntryPoint) -> str:
    """Return name and version of the distribution that an entry point comes from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "no distribution"


class Plugins:
    """The registries of all plugin kinds, as one value to pass around."""

    def __init__(
        self,
        filters: Registry[Filter[FilterConfig]] | None = None,
        discovery: Registry[Discovery] | None = None,
        balancers: Registry[Balancer] | None = None,
        authentication: Registry[AuthMethod[FilterConfig]] | None = None,
    ) -> None:
        # Imported here: these modules use the registry's callers, not the registry.
        from gatewayd.authentication import AuthMethod
        from gatewayd.filter import Filter
        from gatewayd.services.balancer import Balancer
        from gatewayd.services.discovery import Discovery

        self.filters = filters or Registry("gatewayd.filters", Filter)
        self.discovery = discovery or Registry("gatewayd.discovery", Discovery)
        self.balancers = balancers or Registry("gatewayd.balancers", Balancer)
        self.authentication = authentication or Registry("gatewayd.authentication", AuthMethod)
