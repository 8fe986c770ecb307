"""Stores of both kinds: SQLite in a file, and a database of its own in a real MariaDB."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from gatewayd.store.settings import StoreConfig
from gatewayd.store.setup import initialize
from gatewayd.store.store import Store
from tests.support.mariadb import MariaDb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

_numbers = count(1)


@asynccontextmanager
async def closing_store(store: Store) -> AsyncIterator[Store]:
    """Close a store at the end, whatever happens."""
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """The server that tests share; each makes a database of its own in it."""
    with MariaDb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def sqlite_config(tmp_path: Path) -> StoreConfig:
    """Of a file that does not exist yet, in a folder that does not."""
    return StoreConfig(url=f"sqlite:///{tmp_path}/var/gatewayd.db")


@pytest.fixture
def mysql_config(mariadb: MariaDb) -> StoreConfig:
    """Of a database that does not exist yet."""
    return StoreConfig(url=mariadb.url(f"gateway_{next(_numbers)}"))


@pytest.fixture(params=["sqlite", "mysql"])
def config(request: pytest.FixtureRequest) -> StoreConfig:
    """Of both kinds, one after the other."""
    made: StoreConfig = request.getfixturevalue(f"{request.param}_config")
    return made


@pytest.fixture
async def store(config: StoreConfig) -> AsyncIterator[Store]:
    """A store that was set up."""
    await initialize(config)
    made = Store(config)
    await made.start()
    yield made
    await made.close()
