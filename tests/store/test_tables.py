"""What is put into the tables, and comes out of them; on SQLite and on MariaDB."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.util import await_only

from gatewayd.store import purge
from gatewayd.store.errors import StoreError, StoreRefused
from gatewayd.store.records import ApiKeyRecord, BreakerTransition, UnreadableApiKey
from gatewayd.store.schema import ExactText, api_keys, counters, metadata
from gatewayd.store.setup import execute_sql_file, initialize
from gatewayd.store.store import Store
from gatewayd.telemetry.metrics import Metrics
from tests.store.conftest import closing_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gatewayd.store.settings import StoreConfig
    from tests.support.mariadb import MariaDb

KEY = ApiKeyRecord(
    id="one",
    hash=bytes(range(32)),
    owner="ada",
    name="CI",
    roles=frozenset({"admin", "viewer"}),
    permissions=frozenset({"servers:read"}),
    scopes=frozenset({"read"}),
    networks=("192.0.2.0/24",),
    rate_limit="100/minute",
    created_at=1_800_000_000_000_000,
    expires_at=1_800_000_001_000_000,
)


async def test_a_key_comes_out_as_it_went_in(store: Store) -> None:
    made = await store.api_keys.create(KEY)
    assert made == replace(KEY, version=made.version)
    assert await store.api_keys.get("one") == made


async def test_a_key_that_is_not_there(store: Store) -> None:
    assert await store.api_keys.get("one") is None


async def test_ids_differ_in_case(store: Store) -> None:
    await store.api_keys.create(KEY)
    await store.api_keys.create(replace(KEY, id="ONE"))
    found = await store.api_keys.get("ONE")
    assert found is not None
    assert found.id == "ONE"


async def test_there_is_one_key_of_an_id(store: Store) -> None:
    made = await store.api_keys.create(KEY)
    with pytest.raises(StoreError, match="refuses"):
        await store.api_keys.create(KEY)
    assert await store.api_keys.latest_version() == made.version  # the transaction as a whole


async def test_lists_keys_of_an_owner(store: Store) -> None:
    for key_id, owner in [("a", "ada"), ("b", "bob"), ("c", "ada")]:
        await store.api_keys.create(replace(KEY, id=key_id, owner=owner))
    await store.api_keys.revoke("c", 7)
    assert [key.id for key in await store.api_keys.list("ada")] == ["a"]
    assert [key.id for key in await store.api_keys.list("ada", include_revoked=True)] == ["a", "c"]
    assert [key.id for key in await store.api_keys.list()] == ["a", "b"]


async def test_a_revoked_key_stays_revoked(store: Store) -> None:
    await store.api_keys.create(KEY)
    assert await store.api_keys.revoke("one", 7)
    assert not await store.api_keys.revoke("one", 8)
    found = await store.api_keys.get("one")
    assert found is not None
    assert found.revoked_at == 7


async def test_what_is_not_there_cannot_be_revoked(store: Store) -> None:
    assert not await store.api_keys.revoke("one", 7)


async def test_a_key_gets_another_secret(store: Store) -> None:
    await store.api_keys.create(KEY)
    assert await store.api_keys.replace_hash("one", b"another")
    found = await store.api_keys.get("one")
    assert found is not None
    assert found.hash == b"another"


async def test_changes_are_told_once_and_in_order(store: Store) -> None:
    made = [await store.api_keys.create(replace(KEY, id=key_id)) for key_id in "abc"]
    await store.api_keys.revoke("a", 7)
    changed = await store.api_keys.changed_since(0)
    assert [key.id for key in changed] == ["b", "c", "a"]
    assert [key.id for key in await store.api_keys.changed_since(made[-1].version)] == ["a"]
    assert await store.api_keys.changed_since(changed[-1].version) == []


async def test_a_version_is_not_given_again_where_the_last_commits_were_lost(store: Store) -> None:
    lost = await store.api_keys.create(KEY)

    async def fail_over(connection: AsyncConnection) -> None:
        await connection.execute(api_keys.delete())
        await connection.execute(counters.update().values(value=0))

    await store._database.write(fail_over)
    assert (await store.api_keys.create(KEY)).version > lost.version


async def test_versions_grow_where_the_clock_went_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.api_keys.create(KEY)
    monkeypatch.setattr("gatewayd.store.api_keys.time.time_ns", lambda: 1_000)
    assert (await store.api_keys.create(replace(KEY, id="two"))).version == first.version + 1


async def test_changes_are_told_in_pages(store: Store) -> None:
    for key_id in "abcde":
        await store.api_keys.create(replace(KEY, id=key_id))
    seen: list[str] = []
    version = 0
    while page := await store.api_keys.changed_since(version, limit=2):
        seen += [key.id for key in page]
        version = page[-1].version
    assert seen == list("abcde")


async def test_no_change_is_missed_while_many_are_made(store: Store) -> None:
    """Whoever follows the versions meanwhile sees each of them, whatever order they commit in."""
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 30:
            page = await store.api_keys.changed_since(seen[-1] if seen else 0)
            seen.extend(key.version for key in page)

    async with asyncio.timeout(60):
        await asyncio.gather(
            follow(), *(store.api_keys.create(replace(KEY, id=f"k{n}")) for n in range(30))
        )
    assert seen == sorted(seen)
    assert len(set(seen)) == 30


async def test_the_last_use_is_no_change(store: Store) -> None:
    made = await store.api_keys.create(KEY)
    await store.api_keys.touch({"one": 20, "nobody": 20})
    await store.api_keys.touch({"one": 10})  # of a worker that is late
    found = await store.api_keys.get("one")
    assert found is not None
    assert (found.last_used_at, found.version) == (20, made.version)
    assert await store.api_keys.latest_version() == made.version


@pytest.mark.parametrize(("first", "second"), [(100, 200), (200, 100)])
async def test_a_token_is_revoked_until_the_later_of_two_ends(
    store: Store, first: int, second: int
) -> None:
    await store.revoked_tokens.add("one", first)
    await store.revoked_tokens.add("one", second)
    assert await store.revoked_tokens.active(199) == {"one"}
    assert await store.revoked_tokens.active(200) == set()


async def test_more_revoked_tokens_than_are_read_are_told_of(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gatewayd.store.revoked_tokens.MAX_ACTIVE", 2)
    for jti, expires_at in (("a", 100), ("b", 300), ("c", 200)):
        await store.revoked_tokens.add(jti, expires_at)
    assert await store.revoked_tokens.active(0) == {"b", "c"}
    await store.revoked_tokens.active(0)
    assert caplog.text.count("more than 2 tokens are revoked") == 1


@pytest.mark.parametrize("other", ["a ", "a\\", "a \\", "A", "a\t"])
async def test_ids_of_revoked_tokens_are_told_apart(store: Store, other: str) -> None:
    await store.revoked_tokens.add("a", 100)
    await store.revoked_tokens.add(other, 100)
    assert await store.revoked_tokens.active(50) == {"a", other}


@pytest.mark.parametrize("stored", ["a\\", "a\\b", "\\"])
async def test_an_id_that_was_written_with_sql_is_told_as_it_is(store: Store, stored: str) -> None:
    statement = sa.text("INSERT INTO revoked_tokens VALUES (:jti, 100)").bindparams(jti=stored)

    async def by_hand(connection: AsyncConnection) -> None:
        await connection.execute(statement)

    await store._database.write(by_hand)
    assert await store.revoked_tokens.active(50) == {stored}


LOOK_ALIKES = ["one ", "one\\", "one \\", "ONE", " one"]


@pytest.mark.parametrize("other", LOOK_ALIKES)
async def test_ids_of_keys_are_told_apart(store: Store, other: str) -> None:
    await store.api_keys.create(KEY)
    assert await store.api_keys.get(other) is None
    await store.api_keys.create(replace(KEY, id=other, owner="bob"))
    for key_id, owner in (("one", "ada"), (other, "bob")):
        found = await store.api_keys.get(key_id)
        assert found is not None
        assert (found.id, found.owner) == (key_id, owner)


@pytest.mark.parametrize("other", LOOK_ALIKES)
async def test_no_other_key_is_changed_than_the_one_that_is_named(store: Store, other: str) -> None:
    made = await store.api_keys.create(KEY)
    assert not await store.api_keys.revoke(other, 7)
    assert not await store.api_keys.replace_hash(other, b"another")
    await store.api_keys.touch({other: 7})
    assert await store.api_keys.get("one") == made


async def break_row(store: Store, key_id: str) -> None:
    """Make the row of a key unreadable, as with SQL by hand."""

    async def work(connection: AsyncConnection) -> None:
        statement = api_keys.update().where(api_keys.c.id == key_id)
        await connection.execute(statement.values(hash="?"))

    await store._database.write(work)


async def test_a_key_whose_row_cannot_be_read_is_named(store: Store) -> None:
    await store.api_keys.create(KEY)
    await break_row(store, "one")
    with pytest.raises(StoreError, match=r"'one' cannot be read: hash is not hexadecimal"):
        await store.api_keys.get("one")


async def test_a_row_that_cannot_be_read_has_its_place_in_the_list(store: Store) -> None:
    made = [await store.api_keys.create(replace(KEY, id=key_id)) for key_id in "abc"]
    await break_row(store, "b")
    unreadable = UnreadableApiKey("b", made[1].version, "hash is not hexadecimal")
    assert await store.api_keys.list() == [made[0], unreadable, made[2]]


@pytest.mark.parametrize("other", ["ada ", "ada\\", "Ada"])
async def test_callers_are_told_apart(store: Store, other: str) -> None:
    records = store.rate_limit_records
    await records.add([(10, "items", "ada", 2), (10, "items", other, 1)])
    rows = [(row["caller"], row["rejected"]) for row in await records.recent(0)]
    assert rows == [("ada", 2), (other, 1)]


def test_text_that_is_unique_is_the_same_to_all_databases() -> None:
    """A new column must not forget that MySQL ignores spaces at the end."""
    kinds = (sa.PrimaryKeyConstraint, sa.UniqueConstraint)
    unique = {
        column
        for table in metadata.tables.values()
        for one in (*table.constraints, *table.indexes)
        if isinstance(one, kinds) or (isinstance(one, sa.Index) and one.unique)
        for column in one.columns
    }
    assert any(isinstance(column.type, ExactText) for column in unique)
    assert [str(column) for column in unique if isinstance(column.type, sa.String)] == []


async def test_what_does_not_fit_is_refused_and_no_outage(mysql_config: StoreConfig) -> None:
    await initialize(mysql_config)
    async with closing_store(Store(mysql_config)) as store:
        await store.start()
        with pytest.raises(StoreRefused):
            await store.revoked_tokens.add("a" * 1000, 100)


@pytest.mark.parametrize("values", [{"name": "a\udcff"}, {"networks": (object(),)}])
async def test_what_cannot_be_stored_is_refused_and_no_outage(
    store: Store, values: dict[str, Any]
) -> None:
    with pytest.raises(StoreRefused):
        await store.api_keys.create(replace(KEY, **values))


async def test_what_cannot_be_asked_for_is_no_outage(sqlite_config: StoreConfig) -> None:
    async with closing_store(Store(sqlite_config)) as store:
        await store.start()
        with pytest.raises(StoreRefused):
            await store.api_keys.get("a\udcff")


async def test_what_another_discovery_calls_instances_stays_as_it_is(store: Store) -> None:
    services = {"shop": {"discovery": "other", "instances": [{"url": "http://a", "port": 7}]}}
    await store.routes.replace_all([], services)
    assert (await store.routes.load())["services"] == services


@pytest.fixture
def lax_server(mariadb: MariaDb) -> Iterator[None]:
    """Let the server cut what does not fit, unless a session says otherwise."""
    before = mariadb.client("SELECT @@GLOBAL.sql_mode").splitlines()[-1]
    mariadb.client("SET GLOBAL sql_mode = ''")
    yield
    mariadb.client(f"SET GLOBAL sql_mode = '{before}'")


@pytest.mark.usefixtures("lax_server")
async def test_nothing_is_cut_on_a_server_that_would(
    mariadb: MariaDb, mysql_config: StoreConfig, tmp_path: Path
) -> None:
    await initialize(mysql_config)
    database = make_url(mysql_config.url).database
    statement = f"INSERT INTO revoked_tokens VALUES ('{'a' * 1000}', 7);"
    async with closing_store(Store(mysql_config)) as store:
        await store.start()
        with pytest.raises(StoreRefused):
            await store.revoked_tokens.add("a" * 1000, 100)
        with pytest.raises(StoreRefused):
            await store.api_keys.create(replace(KEY, name="n" * 256))
        with pytest.raises(StoreRefused):
            await store.api_keys.create(replace(KEY, expires_at=2**63))
        (tmp_path / "some.sql").write_text(f"USE {database}; {statement}")
        with pytest.raises(StoreError):
            await execute_sql_file(mysql_config, tmp_path / "some.sql")
        assert await store.revoked_tokens.active(0) == set()
        assert await store.api_keys.list() == []
    # And it is a server that would have.
    mariadb.client(statement, str(database))


async def test_revoked_tokens_until_they_expire(store: Store) -> None:
    await store.revoked_tokens.add("one", 100)
    await store.revoked_tokens.add("two", 200)
    await store.revoked_tokens.add("two", 300)
    assert await store.revoked_tokens.active(99) == {"one", "two"}
    assert await store.revoked_tokens.active(100) == {"two"}
    assert await store.revoked_tokens.purge(200) == 1
    assert await store.revoked_tokens.active(0) == {"two"}


def event(**values: Any) -> dict[str, Any]:
    usual = dict.fromkeys(
        ["node", "reason", "actor", "request_id", "route", "method", "path", "client"], ""
    )
    return usual | {
        "at": 1, "action": "access", "outcome": "denied", "count": 1, "detail": {}
    } | values  # fmt: skip


async def test_audit_rows(store: Store) -> None:
    await store.audit_logs.append([event(action="one"), event(action="two", detail={"a": ["b"]})])
    await store.audit_logs.append([])
    newest, oldest = await store.audit_logs.recent()
    assert (newest["action"], newest["detail"], oldest["action"]) == ("two", {"a": ["b"]}, "one")
    assert [row["action"] for row in await store.audit_logs.recent(action="one")] == ["one"]


async def test_text_of_all_languages(store: Store) -> None:
    await store.audit_logs.append([event(actor="Ädä 李 🙂", path="/" + "x" * 1023)])
    (row,) = await store.audit_logs.recent()
    assert (row["actor"], len(row["path"])) == ("Ädä 李 🙂", 1024)


async def test_old_audit_rows_are_deleted(store: Store) -> None:
    await store.audit_logs.append([event(at=at) for at in (1, 2, 3)])
    assert await store.audit_logs.purge(3) == 2
    assert [row["at"] for row in await store.audit_logs.recent()] == [3]


async def test_rejections_add_up(store: Store) -> None:
    records = store.rate_limit_records
    await records.add([(10, "items", "ada", 2), (10, "items", "bob", 1)])
    await records.add([(10, "items", "ada", 3), (11, "items", "ada", 1)])
    await records.add([])
    rows = [(row["minute"], row["caller"], row["rejected"]) for row in await records.recent(0)]
    assert rows == [(11, "ada", 1), (10, "ada", 5), (10, "bob", 1)]
    assert await records.purge(11) == 2


async def test_many_rejections_at_once_add_up(store: Store) -> None:
    rows = [(10, "items", "ada", 1)]
    await asyncio.gather(*(store.rate_limit_records.add(rows) for _ in range(20)))
    (row,) = await store.rate_limit_records.recent(0)
    assert row["rejected"] == 20


def transition(at: int, state: str, **values: Any) -> BreakerTransition:
    return BreakerTransition(
        **{"node": "n1", "service": "shop", "instance": "http://a", "state": state, "at": at}
        | values
    )


@pytest.mark.parametrize("days", [0, 400])
async def test_a_clock_that_is_set_ahead_makes_no_row_old(
    store: Store, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Rows that are two days old, where those older than a day are deleted."""
    day, now = 86_400_000_000, time.time_ns() // 1000
    await store.breaker_states.record([transition(now - 2 * day, "open")])
    await store.rate_limit_records.add([((now - 2 * day) // 60_000_000, "items", "ada", 1)])
    monkeypatch.setattr(time, "time_ns", lambda: (now + days * day) * 1000)
    limit = now + (days - (3 if days else 1)) * day
    purged = await store.breaker_states.purge(limit)
    assert purged == await store.rate_limit_records.purge(limit // 60_000_000)
    assert purged == (0 if days else 1)


async def test_the_last_state_of_each_breaker(store: Store) -> None:
    states = store.breaker_states
    await states.record(
        [
            transition(1, "open", until=9),
            transition(2, "half_open"),
            transition(3, "open", until=12),
            transition(1, "open", instance="", until=5),
            transition(9, "closed", node="n2"),
        ]
    )
    found = sorted(await states.latest("n1"), key=lambda one: one.instance)
    assert found == [
        transition(1, "open", instance="", until=5),
        transition(3, "open", until=12),
    ]
    assert await states.purge(3) == 3


async def fill(store: Store, rows: int) -> None:
    """Put rows of the times 0, 1 and so on into each table that is purged."""
    await store.audit_logs.append([event(at=at) for at in range(rows)])
    await store.rate_limit_records.add([(at, "items", "ada", 1) for at in range(rows)])
    await store.breaker_states.record([transition(at, "closed") for at in range(rows)])
    for at in range(rows):
        await store.revoked_tokens.add(str(at), at)


@pytest.mark.parametrize(
    "name", ["audit_logs", "rate_limit_records", "breaker_states", "revoked_tokens"]
)
async def test_what_is_too_old_is_deleted_in_steps(
    config: StoreConfig, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await initialize(config)
    metrics = Metrics()
    writes = metrics.counter("gatewayd_store_operations", "", ("kind", "result"))
    async with closing_store(Store(config, metrics)) as store:
        await fill(store, 6)
        before = writes.labels("write", "success").value
        monkeypatch.setattr(purge, "AT_ONCE", 2)
        assert await getattr(store, name).purge(5) == 5
        assert writes.labels("write", "success").value == before + 3
        assert await getattr(store, name).purge(5) == 0
        assert await getattr(store, name).purge(6) == 1


ROUTES = [
    {"name": "b", "path": "/b", "service": "shop", "auth_required": True},
    {"name": "a", "path": "/a/{id}", "service": "shop", "filters": {"retry": False}},
]
SERVICES = {
    "shop": {
        "max_connections": 7,
        "instances": [
            {"url": "http://127.0.0.1:1", "weight": 2, "zone": "z", "healthy": False},
            {"url": "http://127.0.0.1:2"},
        ],
    },
    "search": {"discovery": "dns", "name": "_http._tcp.search"},
}


async def test_routes_and_services_come_out_as_they_went_in(store: Store) -> None:
    await store.routes.replace_all(ROUTES, SERVICES)
    await store.routes.replace_all(ROUTES, SERVICES)
    second = {"url": "http://127.0.0.1:2", "weight": 1, "zone": "", "healthy": True}
    services = SERVICES | {
        "shop": SERVICES["shop"] | {"instances": [SERVICES["shop"]["instances"][0], second]}  # type: ignore[index]
    }
    assert await store.routes.load() == {"routes": ROUTES, "services": services}


async def test_names_of_services_are_told_apart(store: Store) -> None:
    services = {name: {"instances": [{"url": "http://a"}]} for name in ("shop", "shop ")}
    await store.routes.replace_all([], services)
    assert sorted((await store.routes.load())["services"]) == ["shop", "shop "]


async def test_routes_and_services_are_of_one_moment(store: Store, config: StoreConfig) -> None:
    await store.routes.replace_all(ROUTES, SERVICES)
    writing = [Store(config)]

    def replaced_meanwhile(*arguments: Any) -> None:
        if writing and "FROM services" in arguments[2]:
            await_only(writing.pop().routes.replace_all([], {}))

    async with closing_store(writing[0]):
        sa.event.listen(sa.Engine, "before_cursor_execute", replaced_meanwhile)
        try:
            found = await store.routes.load()
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", replaced_meanwhile)
    assert not writing
    assert (len(found["routes"]), sorted(found["services"])) == (len(ROUTES), sorted(SERVICES))
    assert await store.routes.load() == {"routes": [], "services": {}}


async def test_what_would_be_too_much_to_read_is_not_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.routes.replace_all(ROUTES[:1], {})
    monkeypatch.setattr("gatewayd.store.routes.MAX_ROWS", 1)
    with pytest.raises(StoreRefused, match="2 rows of routes, and 1 at most"):
        await store.routes.replace_all(ROUTES, {})
    assert (await store.routes.load())["routes"] == ROUTES[:1]


async def test_routes_are_replaced_as_a_whole(store: Store) -> None:
    await store.routes.replace_all(ROUTES, SERVICES)
    with pytest.raises(StoreError):
        await store.routes.replace_all([ROUTES[0], ROUTES[0]], {})
    assert [route["name"] for route in (await store.routes.load())["routes"]] == ["b", "a"]


@pytest.mark.parametrize(
    "name", ["audit_logs", "rate_limit_records", "breaker_states", "revoked_tokens"]
)
async def test_what_is_too_old_is_found_without_a_look_at_all_rows(
    sqlite_config: StoreConfig, name: str
) -> None:
    """MySQL locks what it looks at, and others have to write meanwhile."""
    await initialize(sqlite_config)
    statements: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        if arguments[2].startswith("DELETE"):
            statements.append(arguments[2:4])

    async with closing_store(Store(sqlite_config)) as store:
        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            await getattr(store, name).purge(5)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
    ((statement, values),) = statements
    with closing(sqlite3.connect(str(make_url(sqlite_config.url).database))) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    assert [step for *_, step in plan if "SCAN" in step] == []
