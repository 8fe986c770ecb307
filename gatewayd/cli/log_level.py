"""``gatewayd log-level``: change what a running gateway logs."""

from __future__ import annotations

from gatewayd.admin.client import AdminClient
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.config.load import load
from gatewayd.telemetry.settings import LogLevel  # noqa: TC001  # cyclopts reads it


def log_level(
    level: LogLevel,
    logger: str = "gatewayd",
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
) -> None:
    """Set the level of a logger, until the next reload."""
    client = AdminClient(load(config, env=env).config)
    client.ask("PUT", "/v1/log-level", {"logger": logger, "level": level})
    print(f"{logger} logs from {level} on")
