"""Reading from and writing to the nodes of a database, bounded in time, with fail-over.

Reading may be repeated and goes on at the next node where one fails. Writing is repeated only where
it is certain that nothing was written: no connection was made, or the database itself has rolled
the transaction back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, TypeGuard, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from gatewayd.store.errors import StoreError, StoreRefused, StoreUnavailable
from gatewayd.store.nodes import OUTAGES, WRITES, Nodes
from gatewayd.store.schema import HEAD, wrong_version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.nodes import Node
    from gatewayd.store.settings import StoreConfig
    from gatewayd.telemetry.metrics import Metrics

T = TypeVar("T")

# MySQL has rolled back: deadlock, lock wait, or the node is one that must not be written to.
_ROLLED_BACK = frozenset({1205, 1213})
_READ_ONLY = frozenset({1290, 1792, 1836})
_WRITE_ATTEMPTS = 3

logger = logging.getLogger("gatewayd.store")


class Database:
    """The nodes of a store.

    Args:
        config: The store's settings.
        metrics: Where operations are counted.
        clock: Monotonic seconds.
        prepare: Is awaited before each operation; it raises nothing.

    """

    def __init__(
        self,
        config: StoreConfig,
        metrics: Metrics,
        clock: Callable[[], float],
        *,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._config = config
        self._clock = clock
        self._prepare = prepare
        self.nodes = Nodes(config, clock)
        operations = metrics.counter(
            "gatewayd_store_operations", "Operations on the SQL database.", ("kind", "result")
        )
        self._counts = {
            (kind, result): operations.labels(kind, result)
            for kind in ("read", "write")
            for result in ("success", "failure")
        }
        self._seconds = metrics.histogram(
            "gatewayd_store_seconds", "Time of operations on the SQL database.", ("kind",)
        )
        self._failing = False

    async def read(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        fresh: bool = False,
        snapshot: bool = False,
    ) -> T:
        """Run ``work``, which only reads and may be run again.

        Args:
            work: Is given a connection within a transaction.
            fresh: What a replica has may be too old.
            snapshot: All that is read has to be of one moment.

        Raises:
            StoreUnavailable: no node gives an answer.
            StoreRefused: it cannot be asked for this.
            StoreError: the store was not set up.

        """
        await self._prepare()
        started = self._clock()
        pause = self._config.backoff
        for attempt in range(self._config.retries + 1):
            if attempt:
                await asyncio.sleep(pause)
                pause *= 2
            for node in self.nodes.for_reading(fresh=fresh):
                try:
                    result = await self._run(node, work, writes=False, snapshot=snapshot)
                except OUTAGES as error:
                    failure = self._note_failure(node, error)
                else:
                    self._count("read", "success", started)
                    return result
        self._count("read", "failure", started)
        raise StoreUnavailable(failure)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction; it takes effect as a whole or not at all.

        Raises:
            StoreUnavailable: no node takes it, or it is not known whether it was done.
            StoreRefused: it contradicts what the store holds, or does not fit into it.
            StoreError: the store was not set up.

        """
        await self._prepare()
        started = self._clock()
        try:
            result = await self._write(work)
        except StoreUnavailable:
            self._count("write", "failure", started)
            raise
        self._count("write", "success", started)
        return result

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        failure = "it has no node"
        attempts = 0
        nodes = list(self.nodes.for_writing())
        while nodes:
            node = nodes[0]
            begun = _Begun(work)
            try:
                return await self._run(node, begun, writes=True)
            except OUTAGES as error:
                if _is_refusal(error):
                    raise StoreRefused(f"the store refuses: {error.orig}") from error
                code = _code(error)
                attempts += 1
                if code in _ROLLED_BACK and attempts < _WRITE_ATTEMPTS:
                    continue
                failure = self._note_failure(node, error)
                if begun.started and code not in _READ_ONLY | _ROLLED_BACK:
                    raise StoreUnavailable(failure, maybe_done=True) from error
                nodes.pop(0)
        raise StoreUnavailable(failure)

    async def check(self) -> None:
        """Ask whether there is a node to write to, with the right tables.

        Raises:
            StoreUnavailable: none can be reached.
            StoreError: its tables are not those that the code needs.

        """
        await self.read(_ask_version, fresh=True)

    async def _run(
        self,
        node: Node,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        writes: bool,
        snapshot: bool = False,
    ) -> T:
        async with asyncio.timeout(self._config.timeout), node.engine.connect() as connection:
            await connection.execution_options(**{WRITES: writes})
            if snapshot and not self._config.embedded:  # SQLite does so anyway
                await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                if not node.checked:
                    await _check_version(connection, node)
                    node.checked = True
                try:
                    result = await work(connection)
                except UnicodeEncodeError as error:  # of a surrogate, which UTF-8 has not
                    raise StoreRefused(f"the store refuses: {error}") from error
        self._note_success()
        return result

    def _note_failure(self, node: Node, error: BaseException) -> str:
        self.nodes.failed(node)
        cause = error.orig if isinstance(error, DBAPIError) else error
        text = f"{node.name}: {type(cause).__name__}: {cause}" if str(cause) else (
            f"{node.name}: no answer within {self._config.timeout:g} s"
        )  # fmt: skip
        if not self._failing:
            self._failing = True
            logger.warning("the store fails: %s", text)
        return text

    def _note_success(self) -> None:
        if self._failing:
            self._failing = False
            logger.info("the store answers again")

    def _count(self, kind: str, result: str, started: float) -> None:
        self._counts[kind, result].value += 1
        self._seconds.labels(kind).observe(self._clock() - started)

    async def close(self) -> None:
        """Close all connections."""
        await self.nodes.close()


class _Begun(Generic[T]):
    """Work that remembers whether it was begun: before that, nothing can have been written."""

    def __init__(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> None:
        self._work = work
        self.started = False

    def __call__(self, connection: AsyncConnection) -> Awaitable[T]:
        self.started = True
        return self._work(connection)


def _is_refusal(error: BaseException) -> TypeGuard[StatementError]:
    """Whether it is the values themselves; a type that does not fit never reaches the driver."""
    if isinstance(error, DBAPIError):
        return isinstance(error, (IntegrityError, DataError))
    return isinstance(error, StatementError)


def _code(error: BaseException) -> int | None:
    """Return MySQL's number of an error."""
    arguments = getattr(getattr(error, "orig", None), "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


async def _ask_version(connection: AsyncConnection) -> str | None:
    found: str | None = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


async def _check_version(connection: AsyncConnection, node: Node) -> None:
    """Raise :class:`StoreError` where the tables are not those that the code needs."""
    tables = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    found = await _ask_version(connection) if "alembic_version" in tables else None
    if found != HEAD:
        raise StoreError(wrong_version(node.name, found))
