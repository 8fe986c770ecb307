"""``gatewayd version``: what is installed here."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

from gatewayd._version import __version__
from gatewayd.cli.options import JsonOption  # noqa: TC001  # cyclopts needs it
from gatewayd.cli.output import print_json

_PARTS = ("aiohttp", "uvloop", "httptools", "pydantic")


def version(*, json: JsonOption = False) -> None:
    """Print the versions."""
    versions = {
        "gatewayd": __version__,
        "python": platform.python_version(),
        **{name: installed(name) for name in _PARTS},
    }
    if json:
        print_json(versions)
    else:
        for name, number in versions.items():
            print(f"{name} {number}")
