"""Making a store: the database, its tables, and the script that does so by hand.

``python -m gatewayd.store.setup`` prints ``deploy/sql/init_database.sql``.
"""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from gatewayd.store.errors import StoreError, StoreUnavailable
from gatewayd.store.nodes import OUTAGES, WRITES, make_engine, make_sqlite_file
from gatewayd.store.schema import HEAD, wrong_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.settings import StoreConfig

DATABASE = "gateway_db"
"""Name of the database in the script; whoever runs it by hand may choose another one."""

SETUP_SECONDS = 300.0
"""Time for one step; a migration of a large table takes a while."""

_LOCK_SECONDS = 60


async def create_database(config: StoreConfig) -> None:
    """Make the database where it is missing.

    Raises:
        StoreError: it cannot be made.

    """
    url = make_url(config.url)
    if config.embedded:
        try:
            await asyncio.to_thread(make_sqlite_file, Path(str(url.database)))
        except OSError as error:
            raise StoreUnavailable(f"{url.database}: {error.strerror}") from error
        return
    async with _connected(config, database=False) as connection:
        # The name has letters, digits, _ and - only; see settings.py.
        await connection.exec_driver_sql(
            f"CREATE DATABASE IF NOT EXISTS `{url.database}` "
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        )


async def initialize(config: StoreConfig) -> None:
    """Make the database where it is missing, and bring its tables up to date.

    Several processes may do so at once: one does it, and the others wait for it.

    Raises:
        StoreError: it cannot be done.

    """
    await create_database(config)
    if config.embedded:
        lock = Path(f"{make_url(config.url).database}.lock")
        async with _file_lock(lock):
            await _upgrade(config)
    else:
        await _upgrade(config)


async def check_connection(config: StoreConfig) -> str | None:
    """Return the version of the tables, ``None`` where there are none.

    Raises:
        StoreError: the database cannot be reached, or does not exist.

    """
    if config.embedded:
        file = Path(str(make_url(config.url).database))
        if not await asyncio.to_thread(file.exists):
            raise StoreError(f"{file} does not exist")
    async with _connected(config) as connection:
        tables = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        if "alembic_version" not in tables:
            return None
        found: str | None = await connection.scalar(
            sa.text("SELECT version_num FROM alembic_version")
        )
        return found


async def execute_sql_file(config: StoreConfig, file: Path) -> None:
    """Run the statements of a file, such as a backup or ``deploy/sql/init_database.sql``.

    Raises:
        StoreError: the file cannot be read, or a statement fails.

    """
    try:
        text = await asyncio.to_thread(file.read_text, "utf-8")
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
    url = make_url(config.url)
    try:
        async with asyncio.timeout(SETUP_SECONDS):
            if config.embedded:
                await create_database(config)
                await _run_on_sqlite(str(url.database), text)
            else:
                await _run_on_mysql(config, text)
    except TimeoutError:
        raise StoreUnavailable(f"{file} did not end within {SETUP_SECONDS:g} s") from None


async def _run_on_sqlite(database: str, text: str) -> None:
    import aiosqlite

    try:
        async with aiosqlite.connect(database) as connection:
            await connection.executescript(text)
    except aiosqlite.Error as error:
        raise StoreError(f"{database}: {error}") from error


async def _run_on_mysql(config: StoreConfig, text: str) -> None:
    import aiomysql
    from pymysql.constants import CLIENT

    from gatewayd.store.nodes import STRICT, ssl_context_for
    from gatewayd.store.tls import connect

    url = make_url(config.url)
    context = ssl_context_for(url, config)
    try:
        connection = await (aiomysql.connect if context is None else connect)(
            host=url.host, port=url.port or 3306, user=url.username, password=url.password or "",
            charset="utf8mb4", sql_mode=STRICT, autocommit=True,
            connect_timeout=config.connect_timeout,
            client_flag=CLIENT.MULTI_STATEMENTS,  # the server takes the file apart
            ssl=context,
        )  # fmt: skip
    except (aiomysql.Error, OSError) as error:
        raise StoreUnavailable(f"{url.host}: {error}") from error
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(text)
            while await cursor.nextset():  # raises what a later statement has failed with
                continue
    except aiomysql.Error as error:
        raise StoreError(f"{url.host}: {error}") from error
    finally:
        connection.close()


@asynccontextmanager
async def _connected(
    config: StoreConfig, *, database: bool = True
) -> AsyncIterator[AsyncConnection]:
    url = make_url(config.url)
    engine = make_engine(url, config, database=database)
    where = url.database if config.embedded else url.host
    try:
        async with asyncio.timeout(SETUP_SECONDS), engine.connect() as connection:
            await connection.execution_options(**{WRITES: True})
            async with connection.begin():
                yield connection
    except OUTAGES as error:
        cause = getattr(error, "orig", None) or error
        text = str(cause) or f"it did not end within {SETUP_SECONDS:g} s"
        raise StoreUnavailable(f"{where}: {text}") from error
    finally:
        await engine.dispose()


@asynccontextmanager
async def _file_lock(file: Path) -> AsyncIterator[None]:
    """Let one process of the machine do something at a time."""
    try:
        # For its owner only, as what lies beside it: whoever can open it can hold the lock.
        stream = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w")
    except OSError as error:
        raise StoreUnavailable(f"{file} cannot be written: {error.strerror}") from error
    with stream:
        for _ in range(_LOCK_SECONDS * 20):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)
            except OSError as error:  # such as a file system of the network, without locks
                raise StoreUnavailable(f"{file} cannot be locked: {error.strerror}") from error
        else:
            raise StoreUnavailable(f"{file} is locked by another process")
        yield


async def _upgrade(config: StoreConfig) -> None:
    url = make_url(config.url)
    where = str(url.database if config.embedded else url.host)
    async with _connected(config) as connection:
        if not config.embedded:
            # Held until the connection ends; another node that migrates waits.
            got = await connection.scalar(
                sa.text("SELECT GET_LOCK('gatewayd init-db', :seconds)"), {"seconds": _LOCK_SECONDS}
            )
            if got != 1:
                raise StoreUnavailable("another node is migrating the database")
        await connection.run_sync(_migrate, where)


def _migrate(connection: sa.Connection, where: str) -> None:
    from alembic import command
    from alembic.migration import MigrationContext
    from alembic.util import CommandError

    configuration = _alembic()
    configuration.attributes["connection"] = connection
    try:
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found > HEAD:
            raise StoreError(wrong_version(where, found))
        command.upgrade(configuration, HEAD)
    except CommandError as error:  # a version that was written by hand
        raise StoreError(f"{where}: the tables cannot be brought up to date: {error}") from error


def _alembic(output: io.StringIO | None = None) -> Any:
    from alembic.config import Config

    configuration = Config(output_buffer=output) if output is not None else Config()
    folder = str(files("gatewayd.store") / "migrations")
    # It is a ConfigParser's value, in which % begins the name of another one.
    configuration.set_main_option("script_location", folder.replace("%", "%%"))
    return configuration


def sql_script() -> str:
    """Return the script that makes database and tables by hand, for MySQL and MariaDB."""
    from alembic import command

    output = io.StringIO()
    command.upgrade(_alembic(output), HEAD, sql=True)
    statements = "\n".join(line for line in output.getvalue().splitlines() if line.strip())
    return (
        "-- Makes gatewayd's database and tables, as `gatewayd init-db` does; generated by\n"
        "-- `make docs`. Run once, on an empty server: mysql -u root -p < init_database.sql\n"
        f"CREATE DATABASE IF NOT EXISTS `{DATABASE}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n"
        f"USE `{DATABASE}`;\n"
        f"{statements}\n"
    )


if __name__ == "__main__":
    print(sql_script(), end="")  # noqa: T201  # this is what it is for
