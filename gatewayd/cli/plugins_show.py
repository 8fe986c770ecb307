"""``gatewayd plugins show``: one plugin with all its settings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gatewayd.cli.installed import Installed, installed
from gatewayd.cli.options import JsonOption  # noqa: TC001  # cyclopts needs it
from gatewayd.cli.output import print_json, print_markdown
from gatewayd.config.issues import nearest
from gatewayd.config.reference import (
    authentication_sections,
    balancer_sections,
    discovery_sections,
    filter_sections,
)
from gatewayd.exchange import name_of
from gatewayd.registry import PluginError, Plugins

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = Parameter(help="Name of the plugin, as it stands in configurations.")


def plugins_show(name: Annotated[str, _NAME], *, json: JsonOption = False) -> None:
    """Print all plugins of that name; those of different kinds may share one.

    Raises:
        PluginError: there is none, or it cannot be loaded.

    """
    known = installed()
    found = [plugin for plugin in known if plugin.name == name]
    if not found:
        hint = nearest(name, {plugin.name for plugin in known})
        raise PluginError(f"no plugin {name!r} is installed" + (f"; {hint}" if hint else ""))
    plugins = Plugins()
    if json:
        print_json([plugin._asdict() | _facts(plugin, plugins) for plugin in found])
        return
    for plugin in found:
        title = f"## {plugin.kind} {name}\n\n`{plugin.value}` of {plugin.distribution}\n"
        print_markdown("\n".join([title, *_sections(plugin, plugins)]))


def _facts(plugin: Installed, plugins: Plugins) -> dict[str, Any]:
    if plugin.kind == "filter":
        one = plugins.filters.load(plugin.name)
        return {
            "description": inspect.getdoc(one),
            "requires": sorted(map(name_of, one.requires)),
            "provides": sorted(map(name_of, one.provides)),
            "shorthands": sorted(one.route_keys),
            "settings": one.Config.model_json_schema(),
        }
    if plugin.kind == "discovery":
        discovery = plugins.discovery.load(plugin.name)
        settings = discovery.Config.model_json_schema()
        return {"description": inspect.getdoc(discovery), "settings": settings}
    if plugin.kind == "authentication":
        method = plugins.authentication.load(plugin.name)
        settings = method.Config.model_json_schema()
        return {"description": inspect.getdoc(method), "settings": settings}
    balancer = plugins.balancers.load(plugin.name)
    settings = balancer.Config.model_json_schema()
    return {"description": inspect.getdoc(balancer), "settings": settings}


def _sections(plugin: Installed, plugins: Plugins) -> Iterable[str]:
    if plugin.kind == "filter":
        return filter_sections(plugins.filters.load(plugin.name))
    if plugin.kind == "discovery":
        return discovery_sections(plugins.discovery.load(plugin.name))
    if plugin.kind == "authentication":
        return authentication_sections(plugins.authentication.load(plugin.name))
    return balancer_sections(plugins.balancers.load(plugin.name))
