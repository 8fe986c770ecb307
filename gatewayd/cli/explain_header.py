"""``gatewayd explain header``: the field that has an exchange explained to its caller."""

from __future__ import annotations

from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.cli.signed_field import TtlOption, print_field


def explain_header(
    *, ttl: TtlOption = 300, config: ConfigOption = DEFAULT_CONFIG, env: EnvOption = None
) -> None:
    """Print name and value, as ``curl -H`` takes them."""
    print_field(config, env, ttl, plugin="explain", purpose="explain", key="key", header="header")
