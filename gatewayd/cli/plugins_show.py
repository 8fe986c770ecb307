"""``gatewayd plugins show``: one plugin with all its settings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gatewayd.cli.installed import installed
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
    from collections.abc import Callable, Iterable, Mapping

_KINDS: Mapping[str, tuple[str, Callable[[Any], Iterable[str]]]] = {
    "filter": ("filters", filter_sections),
    "discovery": ("discovery", discovery_sections),
    "balancer": ("balancers", balancer_sections),
    "authentication": ("authentication", authentication_sections),
}
"""Of each kind the attribute of :class:`Plugins`, and what describes one of it."""

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
    loaded = [(one, getattr(plugins, _KINDS[one.kind][0]).load(name)) for one in found]
    if json:
        print_json([one._asdict() | _facts(one.kind, plugin) for one, plugin in loaded])
        return
    for one, plugin in loaded:
        title = f"## {one.kind} {name}\n\n`{one.value}` of {one.distribution}\n"
        print_markdown("\n".join([title, *_KINDS[one.kind][1](plugin)]))


def _facts(kind: str, plugin: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"description": inspect.getdoc(plugin)}
    if kind == "filter":
        facts |= {
            "requires": sorted(map(name_of, plugin.requires)),
            "provides": sorted(map(name_of, plugin.provides)),
            "shorthands": sorted(plugin.route_keys),
        }
    return facts | {"settings": plugin.Config.model_json_schema()}
