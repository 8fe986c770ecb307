"""``gatewayd drain``: take a running gateway out of service, or put it back."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gatewayd.admin.client import AdminClient
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.config.load import load


def drain(
    *,
    undo: Annotated[bool, Parameter(help="Put it back into service.", negative="")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
) -> None:
    """Change whether load balancers are told to send requests."""
    client = AdminClient(load(config, env=env).config)
    client.ask("PUT", "/v1/drain", {"draining": not undo})
    print(
        "in service"
        if undo
        else "out of service: /ready says 503, requests are served all the same"
    )
