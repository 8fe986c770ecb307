"""``gatewayd keys rotate``: give an API key another secret; the old one is worth nothing then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gatewayd.cli.keys import opened, print_new
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.crypto import hash_api_key, join_api_key, new_api_key
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from pathlib import Path

_ID = Parameter(help="Id of the key: what stands between gw_ and the next _.")


def keys_rotate(
    key_id: Annotated[str, _ID],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    json: JsonOption = False,
) -> None:
    """Make another secret for a key and print it."""
    asyncio.run(_rotate(config, env, key_id, json=json))


async def _rotate(config: Path, env: str | None, key_id: str, *, json: bool) -> None:
    async with opened(config, env) as keys:
        record = await keys.get(key_id)
        _, secret, _ = new_api_key()
        hashed = hash_api_key(secret, keys.pepper())
        # Also where somebody has revoked it since: the new secret would be worth nothing.
        if record.revoked_at is not None or not await keys.table.replace_hash(key_id, hashed):
            raise GatewayError(f"the API key {key_id!r} is revoked; create another one")
        print_new(join_api_key(key_id, secret), record, json=json)
        await keys.changed("rotate", key_id, record.owner)
