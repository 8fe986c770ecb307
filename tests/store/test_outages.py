"""A database that goes away: what is repeated, what is not, and how long it takes."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.store.errors import StoreError, StoreUnavailable
from gatewayd.store.settings import StoreConfig, StoreTlsConfig
from gatewayd.store.setup import check_connection, initialize
from gatewayd.store.store import Store
from gatewayd.telemetry.metrics import Metrics
from tests.store.conftest import closing_store
from tests.store.test_tables import KEY
from tests.support.certificates import Authority
from tests.support.mariadb import MariaDb
from tests.support.process import free_port
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SHORT = {"timeout": 0.5, "connect_timeout": 0.5, "backoff": 0.01, "avoid_failed": 0.01}


@pytest.fixture(scope="module")
def own_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """A server that these tests may kill."""
    with MariaDb(tmp_path_factory.mktemp("own-mariadb")) as server:
        yield server


def database_of(mysql_config: StoreConfig) -> str:
    return mysql_config.url.rpartition("/")[2]


@pytest.fixture
async def proxy(mariadb: MariaDb) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(mariadb.port) as made:
        yield made


@pytest.fixture
async def behind_proxy(
    mariadb: MariaDb, mysql_config: StoreConfig, proxy: TcpProxy
) -> AsyncIterator[Store]:
    """A store whose only way to its server is the proxy."""
    await initialize(mysql_config)
    url = mariadb.url(database_of(mysql_config), proxy.port)
    async with closing_store(
        Store(StoreConfig.model_validate({"url": url, "retries": 0, **SHORT}))
    ) as store:
        await store.check()
        yield store


async def test_a_server_that_is_killed_and_started_again(own_mariadb: MariaDb) -> None:
    config = StoreConfig.model_validate({"url": own_mariadb.url("gateway_killed"), **SHORT})
    await initialize(config)
    async with closing_store(Store(config)) as store:
        await store.revoked_tokens.add("one", 100)
        own_mariadb.signal(signal.SIGKILL)
        own_mariadb.wait()
        with pytest.raises(StoreUnavailable):
            await store.revoked_tokens.active(0)
        own_mariadb.start()
        assert await store.revoked_tokens.active(0) == {"one"}


async def test_a_server_that_hangs_costs_no_more_than_the_time_out(own_mariadb: MariaDb) -> None:
    config = StoreConfig.model_validate(
        {"url": own_mariadb.url("gateway_hung"), "retries": 0, **SHORT}
    )
    await initialize(config)
    async with closing_store(Store(config)) as store:
        await store.check()
        own_mariadb.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(10):
                with pytest.raises(StoreUnavailable):
                    await store.revoked_tokens.active(0)
        finally:
            own_mariadb.signal(signal.SIGCONT)
        assert await store.revoked_tokens.active(0) == set()


async def test_reading_goes_on_over_connections_that_were_cut(
    behind_proxy: Store, proxy: TcpProxy
) -> None:
    await proxy.cut()
    await proxy.listen()
    async with closing_store(
        Store(behind_proxy.config.model_copy(update={"retries": 1}))
    ) as reading:
        assert await reading.revoked_tokens.active(0) == set()


async def test_writing_is_not_repeated_once_it_has_begun(
    behind_proxy: Store, proxy: TcpProxy
) -> None:
    begun = asyncio.Event()

    async def work(connection: Any) -> None:
        begun.set()
        await proxy.cut()
        await connection.exec_driver_sql("SELECT 1")

    with pytest.raises(StoreUnavailable) as caught:
        await behind_proxy._database.write(work)
    assert begun.is_set()
    assert caught.value.maybe_done


async def test_writing_where_nobody_listens_was_not_done(
    behind_proxy: Store, proxy: TcpProxy
) -> None:
    await proxy.cut()
    await behind_proxy._database.nodes.writers[0].engine.dispose()
    with pytest.raises(StoreUnavailable) as caught:
        await behind_proxy.revoked_tokens.add("one", 1)
    assert not caught.value.maybe_done


async def test_a_read_that_is_cancelled_leaves_the_pool_whole(
    behind_proxy: Store, proxy: TcpProxy
) -> None:
    proxy.stop()
    reads = [asyncio.create_task(behind_proxy.revoked_tokens.active(0)) for _ in range(10)]
    await asyncio.sleep(0)
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    proxy.go_on()
    for _ in range(10):
        assert await behind_proxy.revoked_tokens.active(0) == set()


async def test_reads_go_to_a_replica_and_writes_do_not(
    mariadb: MariaDb, mysql_config: StoreConfig, proxy: TcpProxy
) -> None:
    await initialize(mysql_config)
    replica = mariadb.url(database_of(mysql_config), proxy.port)
    async with closing_store(
        Store(mysql_config.model_copy(update={"replicas": (replica,)}))
    ) as store:
        await store.audit_logs.append([])
        await store.revoked_tokens.add("one", 100)
        assert proxy.connections == 0
        await store.audit_logs.recent()
        assert proxy.connections == 1


async def test_what_has_to_be_fresh_is_read_from_the_writer(
    mariadb: MariaDb, mysql_config: StoreConfig, proxy: TcpProxy
) -> None:
    await initialize(mysql_config)
    replica = mariadb.url(database_of(mysql_config), proxy.port)
    async with closing_store(
        Store(mysql_config.model_copy(update={"replicas": (replica,)}))
    ) as store:
        await store.api_keys.changed_since(0)
        assert proxy.connections == 0


async def test_a_dead_replica_is_passed_over(
    mysql_config: StoreConfig, mariadb: MariaDb, proxy: TcpProxy
) -> None:
    await initialize(mysql_config)
    name = database_of(mysql_config)
    replicas = (mariadb.url(name, free_port()), mariadb.url(name, proxy.port))
    settings = {"replicas": replicas, "read_strategy": "first", "retries": 0}
    async with closing_store(Store(mysql_config.model_copy(update=settings))) as store:
        assert await store.audit_logs.recent() == []
        assert proxy.connections == 1


async def test_without_the_writer_a_replica_tells_what_should_be_fresh(
    mysql_config: StoreConfig, mariadb: MariaDb
) -> None:
    await initialize(mysql_config)
    name = database_of(mysql_config)
    async with closing_store(
        Store(
            StoreConfig(
                url=mariadb.url(name, free_port()), replicas=(mariadb.url(name),), retries=0
            )
        )
    ) as store:
        assert await store.api_keys.changed_since(0) == []


async def test_a_standby_is_written_to_while_the_writer_is_away(
    mysql_config: StoreConfig, mariadb: MariaDb
) -> None:
    await initialize(mysql_config)
    name = database_of(mysql_config)
    async with closing_store(
        Store(StoreConfig(url=mariadb.url(name, free_port()), standbys=(mariadb.url(name),)))
    ) as store:
        await store.revoked_tokens.add("one", 100)
        assert await store.revoked_tokens.active(0) == {"one"}


async def test_a_standby_that_refuses_is_not_written_to(
    mysql_config: StoreConfig, mariadb: MariaDb
) -> None:
    """As one of a cluster that has not been promoted; here a user who may only read."""
    await initialize(mysql_config)
    name = database_of(mysql_config)
    mariadb.client(
        f"CREATE OR REPLACE USER 'reader'@'%' IDENTIFIED BY 'x';"
        f"GRANT SELECT ON `{name}`.* TO 'reader'@'%';"
    )
    reader = f"mysql://reader:x@127.0.0.1:{mariadb.port}/{name}"
    async with closing_store(
        Store(StoreConfig(url=mariadb.url(name, free_port()), standbys=(reader,)))
    ) as store:
        with pytest.raises(StoreUnavailable):
            await store.revoked_tokens.add("one", 100)
        assert await store.revoked_tokens.active(0) == set()


async def test_deadlocks_are_tried_again(mysql_config: StoreConfig) -> None:
    await initialize(mysql_config)
    async with closing_store(Store(mysql_config)) as store:
        attempts = 0

        async def work(connection: Any) -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                await connection.exec_driver_sql(
                    "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock'"
                )

        await store._database.write(work)
        assert attempts == 2


async def test_tls_to_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tls-mariadb")
    authority = Authority(folder)
    certificate, key = authority.issue("127.0.0.1")
    options = [f"--ssl-cert={certificate}", f"--ssl-key={key}", "--require-secure-transport=ON"]
    with MariaDb(folder, options) as server:
        url = server.url("gateway_tls")
        with pytest.raises(StoreUnavailable):
            await initialize(StoreConfig(url=url, connect_timeout=5))
        with pytest.raises(StoreUnavailable):  # the authority is not the system's
            await initialize(StoreConfig(url=url, tls=StoreTlsConfig()))
        config = StoreConfig(url=url, tls=StoreTlsConfig(ca=str(authority.file)))
        await initialize(config)
        async with closing_store(Store(config)) as store:
            await store.check()


async def test_operations_are_counted(sqlite_config: StoreConfig) -> None:
    metrics = Metrics()
    async with closing_store(Store(sqlite_config, metrics)) as store:
        await store.start()
        await store.revoked_tokens.add("one", 1)
        await store.revoked_tokens.active(0)
        counts = metrics.counter("gatewayd_store_operations", "", ("kind", "result"))
        assert counts.labels("write", "success").value == 1
        assert counts.labels("read", "success").value == 1


async def test_outages_are_counted() -> None:
    metrics = Metrics()
    url = f"mysql://u:p@127.0.0.1:{free_port()}/gateway_db"
    async with closing_store(
        Store(StoreConfig(url=url, retries=1, backoff=0.01), metrics)
    ) as store:
        with pytest.raises(StoreUnavailable):
            await store.revoked_tokens.active(0)
        counts = metrics.counter("gatewayd_store_operations", "", ("kind", "result"))
        assert counts.labels("read", "failure").value == 1


async def test_a_file_that_was_removed_is_missed_and_its_successor_is_used(
    sqlite_config: StoreConfig,
) -> None:
    file = Path(sqlite_config.url.removeprefix("sqlite:///"))
    await initialize(sqlite_config)
    async with closing_store(Store(sqlite_config)) as store:
        await store.api_keys.create(KEY)
        for part in file.parent.glob("gatewayd.db*"):
            part.unlink()
        with pytest.raises(StoreUnavailable, match="No such file"):
            await store.api_keys.get(KEY.id)
        # Not the empty one that SQLite itself would make, nor tables in it.
        with pytest.raises(StoreError, match="does not exist"):
            await check_connection(sqlite_config)
        await initialize(sqlite_config)
        assert await store.api_keys.get(KEY.id) is None
        await store.api_keys.create(KEY)
    async with closing_store(Store(sqlite_config)) as other:
        assert await other.api_keys.get(KEY.id) is not None
