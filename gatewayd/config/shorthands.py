"""Shorthands: keys of a route that stand for settings of a filter, such as ``rate_limit``.

A filter declares them in ``route_keys``. They are expanded into the route's ``filters`` before the
configuration is validated, so the rest of the gateway knows the long form only. A shorthand that
would change nothing, because its filter is not in the pipeline, is an error: somebody who writes
``auth_required = true`` must not get a route that is open.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from gatewayd.config.issues import nearest
from gatewayd.config.places import dotted
from gatewayd.config.schema import RouteConfig
from gatewayd.registry import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayd.config.issues import Issues
    from gatewayd.config.places import KeyPath, Origins
    from gatewayd.filter import Filter
    from gatewayd.registry import Plugins

_OWN_KEYS = frozenset(RouteConfig.model_fields)


class Shorthands:
    """Expands the shorthands of all routes. Filters are imported only if a route has one.

    Args:
        pipeline: Names of the pipeline's filters.
        plugins: The installed plugins.
        origins: Where the values stand; learns where expanded settings came from.
        issues: Takes what is wrong.

    """

    def __init__(
        self, pipeline: Sequence[str], plugins: Plugins, origins: Origins, issues: Issues
    ) -> None:
        installed = plugins.filters.names
        self._pipeline = {name: pipeline.index(name) for name in pipeline if name in installed}
        self._plugins = plugins
        self._origins = origins
        self._issues = issues

    @cached_property
    def _declared(self) -> Mapping[str, Sequence[type[Filter[Any]]]]:
        """The filters of the pipeline that declare each shorthand."""
        declared: dict[str, list[type[Filter[Any]]]] = {}
        for name, index in self._pipeline.items():
            try:
                plugin = self._plugins.filters.load(name)
            except PluginError as error:
                self._issues.add(("pipeline", "filters", index), str(error))
            else:
                for key in plugin.route_keys:
                    declared.setdefault(key, []).append(plugin)
        return declared

    @cached_property
    def _installed(self) -> Mapping[str, str]:
        """The name of a filter for each shorthand that any installed filter declares."""
        return dict(reversed(list(shorthands_of(self._plugins, self._plugins.filters.names))))

    def expand(self, route: dict[str, Any], path: KeyPath) -> None:
        """Move every key of a route that is not a route's own into its filters' settings."""
        for key in [key for key in route if key not in _OWN_KEYS]:
            value = route.pop(key)
            plugins = self._declared.get(key, ())
            if len(plugins) == 1:
                settings = self._settings(plugins[0], key, value, path)
                self._put(route, plugins[0].name, settings, (*path, key))
            else:
                self._refuse(key, (*path, key), [plugin.name for plugin in plugins])

    def _refuse(self, key: str, path: KeyPath, declared_by: Sequence[str]) -> None:
        if declared_by:
            names = " and ".join(map(repr, declared_by))
            self._issues.add(path, f"is a shorthand of two filters, {names}; use filters.NAME")
        elif key in self._installed:
            name = self._installed[key]
            message = f"is a shorthand of filter {name!r}, which is not in pipeline.filters"
            self._issues.add(path, message, f"add {name!r} there, or take this key out")
        else:
            known = {*_OWN_KEYS, *self._declared, *self._installed}
            self._issues.add(path, "unknown key", nearest(key, known))

    def _settings(
        self, plugin: type[Filter[Any]], key: str, value: Any, path: KeyPath
    ) -> dict[str, Any]:
        """Let the filter say what a shorthand means; nothing where it cannot."""
        try:
            return dict(plugin.route_keys[key](value))
        except Exception as error:  # whatever a plugin's function makes of a wrong type
            here = (*path, key)
            shown = "" if self._origins.is_secret(here) else f": {error}"
            self._issues.add(here, f"filter {plugin.name!r} cannot use this value{shown}")
            return {}

    def _put(
        self, route: dict[str, Any], name: str, settings: Mapping[str, Any], here: KeyPath
    ) -> None:
        """Put settings beside those that the route has for the filter, never over them."""
        filters = route.setdefault("filters", {})
        target = (*here[:-1], "filters", name)
        if not isinstance(filters, dict):
            return  # validation says so
        if filters.get(name) is False:
            self._issues.add(here, f"sets what {dotted(target)} = false removes")
            return
        if not isinstance(filters.get(name), dict):
            filters[name] = {}
        for key, setting in settings.items():
            if key in filters[name]:
                first = ":".join(map(str, self._origins.where((*target, key))))
                self._issues.add(here, f"sets {dotted((*target, key))}, as does {first}")
            else:
                filters[name][key] = setting
                self._origins.derive((*target, key), here)


def shorthands_of(plugins: Plugins, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Return each shorthand with the name of its filter; what cannot be imported has none."""
    for name in names:
        try:
            keys = plugins.filters.load(name).route_keys
        except PluginError:
            continue  # not in the pipeline, so it is not this configuration's trouble
        yield from ((key, name) for key in keys)
