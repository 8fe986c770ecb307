"""Configurations of the documentation on this machine alone, and requests for their routes.

Their host names, files and secrets are those of somebody's network. Here they get files of the
test and secrets that are none; the testing kit answers in the place of instances.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd import Response
    from gatewayd.config.schema import RouteConfig
    from gatewayd.testing import InMemoryGateway

SECRET = "0123456789abcdef" * 2
INSIDE = "10.1.0.7"
"""A client in the networks that the examples let in, and none of their load balancers."""
_FROM_ENVIRONMENT = re.compile(r"\$\{[A-Z_]+\}")
_PEM = re.compile(r"/etc/gatewayd/[\w.-]+\.pem")
_LOGS = "/var/log/gatewayd/"
_KEY_SET = re.compile(r"^jwks_url = .*$", re.MULTILINE)
_INCLUDED = re.compile(r'"(\w+\.yaml)"')
_DNS = re.compile(r'^discovery = "dns"\nname = .*\n(?:(?:max_ttl|port) = .*\n)?', re.MULTILINE)


def on_this_machine(text: str, files: Path, folder: Path | None = None) -> str:
    """Return a configuration with what it leans on replaced.

    Args:
        text: The configuration.
        files: Existing folder for the files that it wants.
        folder: Where it stands, if it includes others.

    """
    text = _FROM_ENVIRONMENT.sub(SECRET, text).replace(_LOGS, f"{files}/")
    if _PEM.search(text):
        text = _PEM.sub(str(Authority(files).file), text)
    if folder is not None:
        text = _INCLUDED.sub(rf'"{folder}/\1"', text)
    text = _KEY_SET.sub('jwks_url = "http://127.0.0.1:9/jwks.json"', text)
    return _DNS.sub('instances = [{ url = "http://127.0.0.1:9" }]\n', text)


class Ask(NamedTuple):
    """A request.

    Attributes:
        method: Method.
        target: Path.
        host: Host.
        headers: Header fields.

    """

    method: str
    target: str
    host: str
    headers: dict[str, str]


def ask_for(route: RouteConfig) -> Ask:
    """Return a request that a route takes, where no other one does first."""
    host = route.hosts[0].replace("*", "www") if route.hosts else "gateway.example"
    headers = {name: "1" if value == "*" else value for name, value in route.headers.items()}
    path = re.sub(r"\{\w+(?:\.{3})?\}", "7", route.path)
    return Ask((route.methods or ["GET"])[0], path, host, headers)


async def send(gateway: InMemoryGateway, ask: Ask) -> Response:
    """Send a request from within the networks that examples let in."""
    return await gateway.send(
        ask.method, ask.target, headers=ask.headers, host=ask.host, peer=INSIDE
    )
