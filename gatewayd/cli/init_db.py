"""``gatewayd init-db``: make the store's database and tables, or say whether they are there."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003  # for cyclopts
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json
from gatewayd.config.load import load
from gatewayd.store.errors import StoreError

if TYPE_CHECKING:
    from gatewayd.store.settings import StoreConfig

_SQL_FILE = Parameter(
    name="--sql-file", help="Run the statements of this file instead, such as those of a backup."
)
_CHECK_ONLY = Parameter(
    name="--check-only",
    negative=(),
    help="Change nothing; the exit status is 1 where work is left.",
)


def init_db(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    sql_file: Annotated[Path | None, _SQL_FILE] = None,
    check_only: Annotated[bool, _CHECK_ONLY] = False,
    json: JsonOption = False,
) -> int:
    """Set the store up, or look at it; return the exit status."""
    settings = load(config, env=env).config.store
    found = asyncio.run(_set_up(settings, sql_file, check_only=check_only))
    if json:
        print_json(found)
    else:
        state = f"version {found['version']}" if found["version"] else "no tables"
        todo = "" if found["ready"] else f", expected {found['expected']}; run gatewayd init-db"
        print(f"{found['store']}: {state}{todo}")
    return 0 if found["ready"] else 1


async def _set_up(
    settings: StoreConfig, sql_file: Path | None, *, check_only: bool
) -> dict[str, Any]:
    # Imported here: SQLAlchemy takes longer than what other commands do.
    from sqlalchemy.engine import make_url

    from gatewayd.store.schema import HEAD
    from gatewayd.store.setup import check_connection, execute_sql_file, initialize

    if not check_only:
        await (initialize(settings) if sql_file is None else execute_sql_file(settings, sql_file))
    try:
        version = await check_connection(settings)
    except StoreError:
        if not (check_only and settings.embedded):
            raise
        version = None  # the file is not there yet, which is no failure to look at it
    return {
        "store": make_url(settings.url).render_as_string(hide_password=True),
        "version": version,
        "expected": HEAD,
        "ready": version == HEAD,
    }
