"""``gatewayd trace header``: the field that has a request recorded."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter, validators

from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.config.load import load
from gatewayd.errors import GatewayError
from gatewayd.signed_header import MAX_VALIDITY, sign_header

_TTL = Parameter(
    help="Seconds for which it counts.", validator=validators.Number(gte=1, lte=int(MAX_VALIDITY))
)


def trace_header(
    *,
    ttl: Annotated[int, _TTL] = 300,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
) -> None:
    """Print name and value, as ``curl -H`` takes them."""
    loaded = load(config, env=env)
    plugin = loaded.plugins.filters.load("tracing")
    settings = plugin.Config.model_validate(loaded.config.filters.get("tracing", {}))
    key: str | None = getattr(settings, "force_key", None)
    if key is None:
        raise GatewayError("set filters.tracing.force_key: without it the field means nothing")
    value = sign_header(key.encode(), "trace", int(time.time()) + ttl)
    print(f"{getattr(settings, 'force_header', '')}: {value}")
