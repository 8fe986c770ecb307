"""``gatewayd plugins list``: the plugins that a configuration may name."""

from __future__ import annotations

from gatewayd.cli.installed import Installed, installed
from gatewayd.cli.options import JsonOption  # noqa: TC001  # cyclopts needs it
from gatewayd.cli.output import print_json, print_table


def plugins_list(*, json: JsonOption = False) -> None:
    """Print the installed plugins."""
    plugins = installed()
    if json:
        print_json([plugin._asdict() for plugin in plugins])
    else:
        print_table(Installed._fields, plugins)
