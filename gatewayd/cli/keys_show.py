"""``gatewayd keys show``: all that is known of one API key, but for its hash."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gatewayd.cli.keys import described, opened
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.store.records import ApiKeyRecord

_ID = Parameter(help="Id of the key: what stands between gw_ and the next _.")


def keys_show(
    key_id: Annotated[str, _ID],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    json: JsonOption = False,
) -> None:
    """Print one key."""
    key = described(asyncio.run(_get(config, env, key_id)))
    if json:
        print_json(key)
        return
    rows = [
        (name, ", ".join(value) if isinstance(value, list) else value)
        for name, value in key.items()
    ]
    print_table(("field", "value"), rows)


async def _get(config: Path, env: str | None, key_id: str) -> ApiKeyRecord:
    async with opened(config, env) as keys:
        return await keys.get(key_id)
