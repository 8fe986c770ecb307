"""Commands that give what a worker has counted and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayd.errors import GatewayError
from gatewayd.telemetry.exposition import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd.admin.commands import Commands


async def metrics(commands: Commands, _: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the worker has counted so far."""
    return await snapshot(commands.generations.kept.metrics)


async def explained(commands: Commands, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give the record of an exchange that was explained a while ago."""
    record = commands.generations.kept.explanations.get(str(arguments["id"]))
    if record is None:
        raise GatewayError("there is no record of this exchange")
    return record
