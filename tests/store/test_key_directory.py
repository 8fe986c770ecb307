"""What a gateway knows of API keys, beside the table as it is; on SQLite and on MariaDB."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from gatewayd import AuthUnavailable, Metrics
from gatewayd.store.schema import api_keys
from gatewayd.testing import FakeClock
from gatewayd_filters.auth.api_key import ApiKeyConfig
from gatewayd_filters.auth.api_key.directory import COMPARE_INTERVAL, COMPARE_PAUSE, KeyDirectory
from tests.support.authentication import PEPPER, key_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.store import Store

SECRET, OTHER_SECRET = "1" * 64, "2" * 64
PEOPLE = {"a": "ada", "b": "bob", "c": "cyd", "d": "dan", "e": "eve"}


class World:
    """The keys of a gateway whose turns the test makes.

    Attributes:
        directory: It follows the table.

    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._clock = FakeClock()
        self._metrics = Metrics()
        config = ApiKeyConfig.model_validate(
            {"pepper": PEPPER, "snapshot_file": str(folder / "snapshot")}
        )
        self.directory = KeyDirectory(config, store, None, clock=self._clock, metrics=self._metrics)

    async def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and the directory do what is due then."""
        self._clock.advance(seconds)
        await self.directory.turn()

    async def compare(self) -> None:
        """Let a comparison fall due, and do all of it."""
        await self.turn(2 * COMPARE_INTERVAL)
        while self.directory._pause() == COMPARE_PAUSE:
            await self.turn(COMPARE_PAUSE)

    async def run(self, statement: sa.Executable) -> None:
        """Change the table as with SQL by hand: no version tells of it."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self._store._database.write(work)

    @property
    def owners(self) -> Mapping[str, str]:
        """Owners of the known keys, by the keys' ids."""
        return {key_id: known.principal.id for key_id, known in self.directory.keys.by_id.items()}

    @property
    def differences(self) -> float:
        """How many keys comparisons have put right."""
        return self.directory._differences.value

    def failures(self, step: str) -> float:
        """How often a step has failed."""
        return self.directory._failures[step].value


@pytest.fixture
async def world(store: Store, tmp_path: Path) -> World:
    """Five keys that are known."""
    for key_id, owner in PEOPLE.items():
        await store.api_keys.create(key_record(key_id, SECRET, owner=owner))
    made = World(store, tmp_path)
    await made.turn()
    assert made.owners == PEOPLE
    return made


@pytest.fixture(params=[1000, 2], ids=["one-batch", "batches"])
def _batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd_filters.auth.api_key.directory.BATCH", request.param)


def of(key_id: str) -> sa.ColumnElement[bool]:
    return api_keys.c.id == key_id


CHANGES = [
    pytest.param(
        api_keys.update().where(of("c")).values(revoked_at=1),
        {key_id: owner for key_id, owner in PEOPLE.items() if key_id != "c"},
        id="revoked",
    ),
    pytest.param(
        api_keys.delete().where(of("e")),
        {key_id: owner for key_id, owner in PEOPLE.items() if key_id != "e"},
        id="deleted",
    ),
    pytest.param(
        api_keys.update().where(of("a")).values(owner="Ada"), PEOPLE | {"a": "Ada"}, id="owner"
    ),
    pytest.param(api_keys.update().where(of("b")).values(roles=["admin"]), PEOPLE, id="roles"),
    pytest.param(
        api_keys.update().where(of("d")).values(hash=key_record("d", OTHER_SECRET).hash.hex()),
        PEOPLE,
        id="secret",
    ),
]


@pytest.mark.usefixtures("_batch")
@pytest.mark.parametrize(("statement", "owners"), CHANGES)
async def test_a_comparison_finds_what_no_version_tells_of(
    world: World, statement: sa.Executable, owners: Mapping[str, str]
) -> None:
    await world.run(statement)
    await world.turn(5)
    assert (world.owners, world.differences) == (PEOPLE, 0)
    await world.compare()
    assert (world.owners, world.differences) == (owners, 1)


@pytest.mark.usefixtures("_batch")
async def test_a_comparison_finds_nothing_where_nothing_was_changed(world: World) -> None:
    before = dict(world.directory.keys.by_id)
    await world.compare()
    await world.compare()
    assert (world.differences, world.failures("compare")) == (0, 0)
    assert {key_id: known is before[key_id] for key_id, known in world.directory.keys.by_id.items()
            } == dict.fromkeys(PEOPLE, True)  # fmt: skip


@pytest.mark.usefixtures("_batch")
async def test_what_was_used_or_revoked_in_the_usual_way_is_no_difference(
    world: World, store: Store
) -> None:
    await store.api_keys.touch({"a": 7})
    await store.api_keys.revoke("b", 7)
    await world.compare()
    assert (sorted(world.owners), world.differences) == (["a", "c", "d", "e"], 0)


# --- rows that cannot be read --------------------------------------------------------------------

JSON_COLUMNS = ("roles", "permissions", "scopes", "networks")
MISTAKES = [
    *((column, json.dumps(value)) for column in JSON_COLUMNS for value in (None, 5, "admin", {})),
    ("roles", "[5]"),
    ("roles", '["a", ["b"]]'),
    ("hash", "no hexadecimal"),
    ("hash", "abc"),
]
# MariaDB and MySQL refuse these.
MISTAKES_ON_SQLITE = [("roles", "admin"), ("roles", ""), ("expires_at", "2030-01-01")]


def mistake(column: str, text: str) -> sa.Executable:
    return sa.text(f"UPDATE api_keys SET {column} = :text WHERE id = 'b'").bindparams(text=text)


async def check_that_it_costs_its_own_key_only(world: World, statement: sa.Executable) -> None:
    await world.run(statement)
    await world.run(api_keys.update().where(of("d")).values(revoked_at=1))
    await world.compare()
    assert sorted(world.owners) == ["a", "c", "e"]
    assert (world.differences, world.failures("row"), world.failures("compare")) == (2, 1, 0)


@pytest.mark.parametrize(("column", "text"), MISTAKES)
async def test_a_row_that_cannot_be_read_costs_its_own_key_only(
    world: World, column: str, text: str
) -> None:
    await check_that_it_costs_its_own_key_only(world, mistake(column, text))


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("column", "text"), MISTAKES_ON_SQLITE)
async def test_a_row_that_sqlite_alone_takes_costs_its_own_key_only(
    world: World, column: str, text: str
) -> None:
    await check_that_it_costs_its_own_key_only(world, mistake(column, text))


@pytest.mark.usefixtures("_batch")
@pytest.mark.parametrize("key_id", PEOPLE)
async def test_wherever_it_stands_all_others_are_read(
    world: World, store: Store, tmp_path: Path, key_id: str
) -> None:
    await world.run(api_keys.update().where(of(key_id)).values(hash="?"))
    fresh = World(store, tmp_path)
    await fresh.turn()
    assert fresh.owners == {one: owner for one, owner in PEOPLE.items() if one != key_id}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if "cannot be read" in text]


async def test_it_is_warned_of_once_and_counted_each_time(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.run(mistake("roles", "5"))
    await world.compare()
    await world.compare()
    (warning,) = warnings(caplog)
    assert "'b': roles is no JSON array of strings" in warning
    assert world.failures("row") == 2


async def test_a_row_that_is_spoilt_again_is_warned_of_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for text in ("5", "[]", "5"):
        await world.run(mistake("roles", text))
        await world.compare()
    assert len(warnings(caplog)) == 2


async def test_its_key_cannot_be_judged_until_it_is_mended(world: World) -> None:
    await world.run(mistake("roles", "5"))
    await world.compare()
    with pytest.raises(AuthUnavailable, match="roles is no JSON array of strings"):
        world.directory.keys.reason_unknown("b")
    await world.run(mistake("roles", '["reader"]'))
    await world.compare()
    assert world.owners == PEOPLE


async def test_there_is_no_such_key_once_its_row_was_deleted(world: World) -> None:
    await world.run(mistake("roles", "5"))
    await world.compare()
    await world.run(api_keys.delete().where(of("b")))
    await world.compare()
    assert world.directory.keys.reason_unknown("b") == "unknown_key"


async def test_a_change_that_cannot_be_read_ends_what_was_known(world: World, store: Store) -> None:
    await world.run(mistake("scopes", "5"))
    await store.api_keys.replace_hash("b", b"another")
    await world.turn(5)
    assert sorted(world.owners) == ["a", "c", "d", "e"]
    assert world.directory.keys.failure is None
