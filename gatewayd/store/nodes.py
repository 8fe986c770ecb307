"""The nodes of a database: an engine for each, and the order in which they are asked."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from gatewayd.store.settings import StoreTlsConfig
from gatewayd.tls import tls_client_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gatewayd.store.settings import StoreConfig

WRITES = "gatewayd_writes"
"""Execution option of connections that are going to write."""

STRICT = "TRADITIONAL"
"""Mode of every session on MySQL: what does not fit is refused, whatever the server's default is. A
server that is not strict would cut it, and tell nobody."""

OUTAGES = (SQLAlchemyError, OSError, TimeoutError)
"""What an operation raises where the database, or the way to it, has failed."""

_BUSY_MILLISECONDS = 5000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Node:
    """One server, or the file of SQLite.

    Attributes:
        name: Host and port, or the file; without the password.
        engine: Its connections.
        avoid_until: Until when it is asked last, as it has failed; on the clock of its nodes.
        checked: Whether the version of its tables was found to be right.

    """

    def __init__(self, url: str, config: StoreConfig) -> None:
        parsed = make_url(url)
        self.name = (
            str(parsed.database) if config.embedded else f"{parsed.host}:{parsed.port or 3306}"
        )
        self.engine = make_engine(parsed, config)
        self.avoid_until = 0.0
        self.checked = False

    def __repr__(self) -> str:
        return f"<store node {self.name}>"


class Nodes:
    """All nodes of a store.

    Args:
        config: The store's settings.
        clock: Monotonic seconds.

    """

    def __init__(self, config: StoreConfig, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._avoid = config.avoid_failed
        self._strategy = config.read_strategy
        self.writers = [Node(url, config) for url in (config.url, *config.standbys)]
        self.replicas = [Node(url, config) for url in config.replicas]
        self._turn = count()

    def for_writing(self) -> Sequence[Node]:
        """Return the nodes that may be written to, those that have failed lately at the end."""
        return self._healthy_first(self.writers)

    def for_reading(self, *, fresh: bool) -> Sequence[Node]:
        """Return all nodes in the order in which they are asked.

        Args:
            fresh: What a replica has may be too old.

        """
        replicas = list(self.replicas)
        if self._strategy == "random":
            random.shuffle(replicas)
        elif self._strategy == "round_robin" and replicas:
            turn = next(self._turn) % len(replicas)
            replicas = replicas[turn:] + replicas[:turn]
        order = [*self.writers, *replicas] if fresh else [*replicas, *self.writers]
        return self._healthy_first(order)

    def failed(self, node: Node) -> None:
        """Note that a node has failed."""
        node.avoid_until = self._clock() + self._avoid

    def _healthy_first(self, nodes: Sequence[Node]) -> Sequence[Node]:
        now = self._clock()
        return sorted(nodes, key=lambda node: node.avoid_until > now)

    async def close(self) -> None:
        """Close all connections."""
        for node in (*self.writers, *self.replicas):
            await node.engine.dispose()


def make_engine(url: URL, config: StoreConfig, *, database: bool = True) -> AsyncEngine:
    """Return an engine; nothing is connected.

    Args:
        url: Of the server.
        config: The store's settings.
        database: Whether connections choose the URL's database; not while it does not exist.

    """
    if config.embedded:
        file = Path(str(url.database))
        engine = create_async_engine(
            sa.URL.create("sqlite+aiosqlite", database=str(file)),
            connect_args={"async_creator_fn": _connect_sqlite},
            hide_parameters=True,
        )
        sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        follow = _SqliteFile(file)
        sa.event.listen(engine.sync_engine, "connect", follow.opened)
        sa.event.listen(engine.sync_engine, "checkout", follow.taken)
        sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    arguments: dict[str, Any] = {
        "connect_timeout": config.connect_timeout, "charset": "utf8mb4", "sql_mode": STRICT
    }  # fmt: skip
    context = ssl_context_for(url, config)
    if context is not None:
        from gatewayd.store.tls import connect

        arguments |= {"ssl": context, "async_creator_fn": connect}
    # SQLAlchemy's own texts show statements, but no parameters, as these may be hashes.
    return create_async_engine(
        url.set(drivername="mysql+aiomysql", database=url.database if database else ""),
        connect_args=arguments,
        pool_size=config.pool_size,
        max_overflow=0,
        pool_timeout=config.timeout,
        pool_recycle=config.recycle,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
    )


def ssl_context_for(url: URL, config: StoreConfig) -> ssl.SSLContext | None:
    """Return what verifies a server of MySQL, ``None`` for plain connections.

    Where nothing is said of TLS, only connections within this machine are plain.
    """
    if config.tls is not None:
        return _ssl_context(config.tls) if config.tls.enabled else None
    return None if url.host in _LOOPBACK else _ssl_context(StoreTlsConfig())


def _ssl_context(tls: StoreTlsConfig) -> ssl.SSLContext:
    return tls_client_context(tls.ca, verify=tls.verify, certificate=tls.certificate, key=tls.key)


def make_sqlite_file(file: Path) -> None:
    """Make the file of SQLite, which holds hashes of keys, readable for its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Only to make it: closing a file that is open elsewhere in this process would lift the locks
    # that SQLite has on it (POSIX, fcntl(2)).
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


async def _connect_sqlite(*arguments: Any, **options: Any) -> Any:
    """Connect as ``aiosqlite.connect`` does; where that fails, its thread has ended.

    It would go on for a moment, and die with a traceback where the loop is closed by then.
    """
    import aiosqlite

    os.stat(arguments[0])  # noqa: PTH116  # SQLite would make one without tables, for all to read
    connection = aiosqlite.connect(*arguments, **options)
    thread: Any = getattr(connection, "_thread", connection)  # before 0.22 it was one by itself
    thread.daemon = True  # as SQLAlchemy does
    try:
        return await connection
    except Exception:
        await asyncio.to_thread(thread.join)
        raise


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # _begin_sqlite begins; the driver does so too late
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON",
                   f"busy_timeout = {_BUSY_MILLISECONDS}"):  # fmt: skip
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class _SqliteFile:
    """Sees to it that connections are to the file that stands under its name now.

    One that was removed, as for a backup that takes its place, goes on for those who have it open:
    they would never hear of a key that is revoked in the new one.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def opened(self, _connection: object, record: Any) -> None:
        record.info["file"] = self._identity()

    def taken(self, _connection: object, record: Any, _proxy: object) -> None:
        """Have the pool connect anew where the file is another one.

        Raises:
            DisconnectionError: it is another one.
            OSError: there is none.

        """
        if record.info["file"] != self._identity():
            raise sa.exc.DisconnectionError(f"{self._file} is another file than before")

    def _identity(self) -> tuple[int, int]:
        status = self._file.stat()
        return status.st_dev, status.st_ino


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later fails where another one has written since.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
