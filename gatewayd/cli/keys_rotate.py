"""``gatewayd keys rotate``: give an API key another secret; the old one is worth nothing then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gatewayd.cli.keys import described, opened
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json
from gatewayd.crypto import hash_api_key, join_api_key, new_api_key
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.store.records import ApiKeyRecord

_ID = Parameter(help="Id of the key: what stands between gw_ and the next _.")


def keys_rotate(
    key_id: Annotated[str, _ID],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    json: JsonOption = False,
) -> None:
    """Make another secret for a key and print it."""
    key, record = asyncio.run(_rotate(config, env, key_id))
    if json:
        print_json({"key": key, **described(record)})
    else:
        print(key)


async def _rotate(config: Path, env: str | None, key_id: str) -> tuple[str, ApiKeyRecord]:
    async with opened(config, env) as keys:
        record = await keys.get(key_id)
        if record.revoked_at is not None:
            raise GatewayError(f"the API key {key_id!r} is revoked; create another one")
        _, secret, _ = new_api_key()
        await keys.table.replace_hash(key_id, hash_api_key(secret, keys.pepper()))
        await keys.changed("rotate", key_id, record.owner)
        return join_api_key(key_id, secret), record
