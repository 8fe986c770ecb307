"""Signed header fields by which an operator asks a filter for something special."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from gatewayd.config.load import load
from gatewayd.errors import GatewayError
from gatewayd.signed_header import MAX_VALIDITY, sign_header

if TYPE_CHECKING:
    from pathlib import Path

TtlOption = Annotated[
    int,
    Parameter(
        help="Seconds for which it counts.",
        validator=validators.Number(gte=1, lte=int(MAX_VALIDITY)),
    ),
]


def print_field(
    config: Path, env: str | None, ttl: int, *, plugin: str, purpose: str, key: str, header: str
) -> None:
    """Print name and value of a field, as ``curl -H`` takes them.

    Args:
        config: The configuration's file.
        env: The environment.
        ttl: Seconds for which it counts.
        plugin: Name of the filter.
        purpose: What is signed.
        key: The filter's setting that holds the key.
        header: The one that holds the field's name.

    Raises:
        GatewayError: the filter has no key.

    """
    loaded = load(config, env=env)
    model = loaded.plugins.filters.load(plugin).Config
    settings = model.model_validate(loaded.config.filters.get(plugin, {}))
    secret: str | None = getattr(settings, key, None)
    if secret is None:
        raise GatewayError(f"set filters.{plugin}.{key}: without it the field means nothing")
    value = sign_header(secret.encode(), purpose, int(time.time()) + ttl)
    print(f"{getattr(settings, header, '')}: {value}")
