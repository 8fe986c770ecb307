"""``gatewayd reload``: have a running gateway load its configuration again."""

from __future__ import annotations

from gatewayd.admin.client import AdminClient
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.config.load import load


def reload(*, config: ConfigOption = DEFAULT_CONFIG, env: EnvOption = None) -> None:
    """Reload, and print the digest of what runs."""
    answer = AdminClient(load(config, env=env).config).ask("POST", "/v1/reload")
    print(f"reloaded, configuration {answer['digest'][:12]} is running")
