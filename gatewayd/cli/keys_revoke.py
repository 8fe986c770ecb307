"""``gatewayd keys revoke``: end an API key for good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gatewayd.cli.keys import now, opened
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from pathlib import Path

_ID = Parameter(help="Id of the key: what stands between gw_ and the next _.")


def keys_revoke(
    key_id: Annotated[str, _ID],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
) -> None:
    """Revoke one key."""
    asyncio.run(_revoke(config, env, key_id))
    print(f"API key {key_id} is revoked")


async def _revoke(config: Path, env: str | None, key_id: str) -> None:
    async with opened(config, env) as keys:
        record = await keys.get(key_id)
        if not await keys.table.revoke(key_id, now()):
            raise GatewayError(f"the API key {key_id!r} was revoked already")
        await keys.changed("revoke", key_id, record.owner)
