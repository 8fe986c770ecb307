"""``gatewayd keys list``: the API keys, without anything secret."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gatewayd.cli.keys import described, opened
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json, print_table
from gatewayd.store.records import ApiKeyRecord, UnreadableApiKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UNREADABLE = 3
"""Exit status where keys are listed, but the rows of others cannot be read."""

_COLUMNS = ("id", "owner", "name", "status", "roles", "expires", "last_used")
_OWNER = Parameter(help="Only the keys of this owner.")
_ALL = Parameter(name="--all", negative=(), help="List revoked keys as well.")


def keys_list(
    *,
    owner: Annotated[str | None, _OWNER] = None,
    everything: Annotated[bool, _ALL] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    json: JsonOption = False,
) -> int:
    """Print the keys, and which rows cannot be read; return the exit status."""
    found = asyncio.run(_list(config, env, owner, everything=everything))
    keys = [described(one) for one in found if isinstance(one, ApiKeyRecord)]
    if json:
        print_json(keys)
    else:
        print_table(_COLUMNS, [[_cell(key[column]) for column in _COLUMNS] for key in keys])
    unreadable = [one for one in found if isinstance(one, UnreadableApiKey)]
    for one in unreadable:
        print(one, file=sys.stderr)
    return UNREADABLE if unreadable else 0


async def _list(
    config: Path, env: str | None, owner: str | None, *, everything: bool
) -> Sequence[ApiKeyRecord | UnreadableApiKey]:
    async with opened(config, env) as keys:
        return await keys.table.list(owner=owner, include_revoked=everything)


def _cell(value: list[str] | str) -> str:
    return ", ".join(value) if isinstance(value, list) else value
