"""Making a store, and what is said of one that was not made."""

from __future__ import annotations

import asyncio
import stat
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from gatewayd.store.errors import StoreError, StoreUnavailable
from gatewayd.store.nodes import make_engine
from gatewayd.store.schema import HEAD, metadata
from gatewayd.store.settings import StoreConfig
from gatewayd.store.setup import (
    _alembic,
    check_connection,
    create_database,
    execute_sql_file,
    initialize,
    sql_script,
)
from gatewayd.store.store import Store
from gatewayd.testing import FakeClock
from tests.store.conftest import closing_store
from tests.support.process import free_port
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mariadb import MariaDb

SCRIPT = REPOSITORY / "deploy" / "sql" / "init_database.sql"


async def test_makes_database_and_tables(config: StoreConfig) -> None:
    await initialize(config)
    assert await check_connection(config) == HEAD
    async with closing_store(Store(config)) as store:
        await store.check()


async def test_making_it_again_changes_nothing(config: StoreConfig) -> None:
    await initialize(config)
    async with closing_store(Store(config)) as store:
        await store.revoked_tokens.add("one", 100)
        await initialize(config)
        assert await store.revoked_tokens.active(0) == {"one"}


async def test_several_may_make_it_at_once(config: StoreConfig) -> None:
    await asyncio.gather(*(initialize(config) for _ in range(5)))
    assert await check_connection(config) == HEAD


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO counters",
        "CREATE INDEX ix_api_keys_owner",
        "CREATE TABLE services",
        "CREATE INDEX ix_audit_logs_at",
        "INSERT INTO alembic_version",
        "CREATE INDEX ix_circuit_breaker_states_at ",
        "UPDATE alembic_version",
    ],
)
async def test_one_that_was_interrupted_goes_on(config: StoreConfig, statement: str) -> None:
    def interrupt(*arguments: Any) -> None:
        if arguments[2].strip().startswith(statement):
            raise ConnectionResetError("killed")

    sa.event.listen(sa.Engine, "before_cursor_execute", interrupt)
    try:
        with pytest.raises(StoreUnavailable, match="killed"):
            await initialize(config)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", interrupt)
    await initialize(config)
    assert await differences(config) == []
    async with closing_store(Store(config)) as store:
        assert await store.api_keys.revoke("none", 1) is False  # needs the counter's row


async def test_a_database_without_tables(config: StoreConfig) -> None:
    await create_database(config)
    assert await check_connection(config) is None


async def test_a_database_that_does_not_exist(config: StoreConfig) -> None:
    with pytest.raises(StoreError):
        await check_connection(config)


async def differences(config: StoreConfig) -> list[Any]:
    """Return in what the tables are not those that the code needs."""
    engine = make_engine(make_url(config.url), config)

    def compare(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    # MariaDB calls JSON LONGTEXT, so that types of these columns differ in name.
    return [one for one in found if "JSON" not in repr(one)]


async def test_migrations_make_what_the_code_expects(config: StoreConfig) -> None:
    await initialize(config)
    assert await differences(config) == []


def test_the_code_expects_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(_alembic()).get_current_head() == HEAD


async def test_an_embedded_store_makes_its_tables_when_it_is_opened(
    sqlite_config: StoreConfig,
) -> None:
    stores = [Store(sqlite_config) for _ in range(3)]
    await asyncio.gather(*(store.start() for store in stores))
    for store in stores:
        await store.check()
        await store.close()


def test_the_file_of_an_embedded_store_is_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "var" / "gatewayd.db"
    asyncio.run(initialize(StoreConfig(url=f"sqlite:///{file}")))
    for made in file.parent.iterdir():  # the lock as well
        assert stat.S_IMODE(made.stat().st_mode) == 0o600


@pytest.mark.parametrize("obstacle", ["var", "var/gatewayd.db.lock", "var/gatewayd.db"])
async def test_what_cannot_be_written_is_no_reason_not_to_start(
    sqlite_config: StoreConfig, tmp_path: Path, obstacle: str
) -> None:
    if obstacle == "var":
        (tmp_path / obstacle).write_text("a file")
    else:
        (tmp_path / obstacle).mkdir(parents=True)
    async with closing_store(Store(sqlite_config)) as store:
        await store.start()
        with pytest.raises(StoreError):
            await store.check()


async def test_a_file_system_without_locks_is_no_reason_not_to_start(
    sqlite_config: StoreConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError(37, "No locks available")))
    async with closing_store(Store(sqlite_config)) as store:
        await store.start()
    assert "gatewayd.db.lock cannot be locked: No locks available" in caplog.text


async def test_tables_are_made_as_soon_as_they_can_be(
    sqlite_config: StoreConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle, clock = tmp_path / "var", FakeClock()
    obstacle.write_text("a file")
    async with closing_store(Store(sqlite_config, clock=clock)) as store:
        await store.start()
        obstacle.unlink()
        with pytest.raises(StoreError):  # not at every operation: many may come
            await store.api_keys.list()
        clock.advance(6)
        assert await store.api_keys.list() == []
    assert caplog.text.count("the store cannot be used") == 1


async def test_a_store_that_was_not_started_makes_nothing(
    sqlite_config: StoreConfig, tmp_path: Path
) -> None:
    async with closing_store(Store(sqlite_config)) as store:
        with pytest.raises(StoreError):
            await store.api_keys.list()
    assert not (tmp_path / "var").exists()


async def test_a_file_that_cannot_be_opened_leaves_no_thread(
    sqlite_config: StoreConfig, tmp_path: Path
) -> None:
    (tmp_path / "var/gatewayd.db").mkdir(parents=True)
    before = set(threading.enumerate())
    engine = make_engine(make_url(sqlite_config.url), sqlite_config)
    with pytest.raises(OperationalError):
        await engine.connect().start()
    left = {thread.name for thread in set(threading.enumerate()) - before}
    await engine.dispose()
    assert [name for name in left if "connection" in name.lower()] == []


async def set_version(config: StoreConfig, version: str) -> None:
    engine = make_engine(make_url(config.url), config)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")
    await engine.dispose()


async def test_tables_of_an_older_version_are_brought_up_to_date(config: StoreConfig) -> None:
    await initialize(config)
    engine = make_engine(make_url(config.url), config)
    (later,) = (
        index
        for index in metadata.tables["circuit_breaker_states"].indexes
        if index.name == "ix_circuit_breaker_states_at"
    )
    async with engine.begin() as connection:
        await connection.execute(sa.schema.DropIndex(later))
    await engine.dispose()
    await set_version(config, "0001")
    await initialize(config)
    assert (await check_connection(config), await differences(config)) == (HEAD, [])


async def test_tables_of_a_newer_version_stay_as_they_are(config: StoreConfig) -> None:
    await initialize(config)
    await set_version(config, "9999")
    with pytest.raises(StoreError, match=r"has version 9999 .*; a newer gatewayd made them"):
        await initialize(config)
    assert await check_connection(config) == "9999"


async def test_tables_of_a_version_that_nobody_made(config: StoreConfig) -> None:
    await initialize(config)
    await set_version(config, "0000")
    with pytest.raises(StoreError, match=r"cannot be brought up to date: .*'0000'"):
        await initialize(config)


async def test_an_embedded_store_of_a_newer_version_is_no_reason_not_to_start(
    sqlite_config: StoreConfig,
) -> None:
    await initialize(sqlite_config)
    await set_version(sqlite_config, "9999")
    async with closing_store(Store(sqlite_config)) as store:
        await store.start()
        with pytest.raises(StoreError, match="a newer gatewayd made them"):
            await store.api_keys.list()


async def test_a_shared_store_is_not_made_by_opening_it(mysql_config: StoreConfig) -> None:
    await create_database(mysql_config)
    async with closing_store(Store(mysql_config)) as store:
        await store.start()
        with pytest.raises(StoreError, match=r"has no tables, expected .*; run gatewayd init-db"):
            await store.check()


async def test_tables_of_another_version_are_not_used(config: StoreConfig) -> None:
    await initialize(config)
    await set_version(config, "9999")
    async with closing_store(Store(config)) as store:
        with pytest.raises(StoreError, match="has version 9999 of the tables, expected"):
            await store.check()


async def test_a_server_that_is_not_there() -> None:
    config = StoreConfig(url=f"mysql://u:secret@127.0.0.1:{free_port()}/gateway_db")
    with pytest.raises(StoreUnavailable) as caught:
        await initialize(config)
    assert "secret" not in str(caught.value)


async def test_a_wrong_password_is_not_shown(mariadb: MariaDb) -> None:
    config = StoreConfig(url=f"mysql://gateway:mistaken@127.0.0.1:{mariadb.port}/gateway_db")
    with pytest.raises(StoreUnavailable, match="Access denied") as caught:
        await initialize(config)
    assert "mistaken" not in str(caught.value)


def test_the_script_is_the_one_of_the_migrations() -> None:
    assert SCRIPT.read_text() == sql_script()


async def test_the_script_makes_a_store_with_the_client(mariadb: MariaDb) -> None:
    mariadb.client("DROP DATABASE IF EXISTS gateway_db")
    mariadb.client(SCRIPT.read_text())
    async with closing_store(Store(StoreConfig(url=mariadb.url("gateway_db")))) as store:
        await store.check()
        mariadb.client("DROP DATABASE gateway_db")


async def test_the_script_makes_a_store_as_a_file(mariadb: MariaDb) -> None:
    mariadb.client("DROP DATABASE IF EXISTS gateway_db")
    config = StoreConfig(url=mariadb.url("gateway_db"))
    await execute_sql_file(config, SCRIPT)
    assert await check_connection(config) == HEAD
    mariadb.client("DROP DATABASE gateway_db")


async def test_a_file_runs_on_an_embedded_store(sqlite_config: StoreConfig, tmp_path: Path) -> None:
    file = tmp_path / "some.sql"
    file.write_text("CREATE TABLE one (a INTEGER); -- ;\nINSERT INTO one VALUES (';');")
    await execute_sql_file(sqlite_config, file)
    assert await check_connection(sqlite_config) is None


async def test_a_percent_sign_in_a_file_is_no_format(config: StoreConfig, tmp_path: Path) -> None:
    await initialize(config)
    database = "" if config.embedded else f"USE {make_url(config.url).database};"
    file = tmp_path / "some.sql"
    file.write_text(f"{database} INSERT INTO revoked_tokens VALUES ('100% %s %(a)s', 7);")
    await execute_sql_file(config, file)
    async with closing_store(Store(config)) as store:
        assert await store.revoked_tokens.active(0) == {"100% %s %(a)s"}


def test_a_percent_sign_in_the_path_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.store.setup.files", lambda _: tmp_path / "100% %(mine)s")
    location = _alembic().get_main_option("script_location")
    assert location == f"{tmp_path}/100% %(mine)s/migrations"


@pytest.mark.parametrize("text", ["SELECT 1; SELECT * FROM nowhere; SELECT 2;", "NONSENSE"])
async def test_a_statement_that_fails_is_told(
    config: StoreConfig, tmp_path: Path, text: str
) -> None:
    await create_database(config)
    file = tmp_path / "some.sql"
    file.write_text(text)
    with pytest.raises(StoreError):
        await execute_sql_file(config, file)


async def test_a_file_that_is_not_there(sqlite_config: StoreConfig, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        await execute_sql_file(sqlite_config, tmp_path / "none.sql")


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "sqlite://"},
        {"url": "sqlite:///"},
        {"url": "postgresql://localhost/gateway_db"},
        {"url": "mysql://localhost"},
        {"url": "mysql:///gateway_db"},
        {"url": "mysql://localhost/gateway_db?ssl=1"},
        {"url": "mysql://localhost/gateway`db"},
        {"url": "mysql://localhost/gateway%64b"},
        {"url": "sqlite:///var/100%25.db"},
        {"url": "mysql://localhost:99999/gateway_db"},
        {"url": "mysql://localhost:0/gateway_db"},
        {"url": "sqlite:///a.db", "replicas": ["mysql://localhost/gateway_db"]},
        {"url": "mysql://localhost/gateway_db", "replicas": ["sqlite:///a.db"]},
        {"url": "mysql://localhost/gateway_db", "standbys": ["sqlite:///a.db"]},
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StoreConfig.model_validate(settings)


def test_the_password_is_in_no_repr(mariadb: MariaDb) -> None:
    config = StoreConfig(url="mysql://u:secret@127.0.0.1/gateway_db")
    assert "secret" not in repr(config) + repr(Store(config))
