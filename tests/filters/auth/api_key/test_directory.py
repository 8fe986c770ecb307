"""api_key: how soon a change is known, and what an outage does."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import AuthUnavailable, InvalidCredential
from gatewayd.crypto import new_api_key
from gatewayd.testing import make_exchange
from gatewayd_filters.auth.api_key.directory import BATCH, COMPARE_INTERVAL, COMPARE_PAUSE
from gatewayd_filters.auth.api_key.keys import FRESH
from tests.support.authentication import FakeRedis, FakeStore, key_record

if TYPE_CHECKING:
    from gatewayd_filters.auth.api_key import ApiKeyMethod
    from tests.filters.auth.api_key.conftest import World

KEY_ID, SECRET, KEY = new_api_key()
OTHER_ID, OTHER_SECRET, OTHER = new_api_key()
AWAY = ConnectionError("away")


async def verdict(method: ApiKeyMethod, key: str) -> str:
    """Return the owner, why a key is not good, or that it cannot be judged."""
    try:
        return (await method.verify(key.encode(), make_exchange())).id
    except InvalidCredential as why:
        assert method.remembered(key.encode()) is None
        return why.reason
    except AuthUnavailable:
        assert method.remembered(key.encode()) is None
        return "unavailable"


async def test_a_revoked_key_is_refused_after_the_next_look(world: World) -> None:
    record = world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        assert await verdict(method, KEY) == "shop"
        world.store.api_keys.put(record, revoked_at=1)
        await world.turn(5)
        assert await verdict(method, KEY) == "revoked"


async def test_a_rotated_key_has_a_new_secret_only(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        world.store.api_keys.put(key_record(KEY_ID, OTHER_SECRET))
        await world.turn(5)
        assert await verdict(method, KEY) == "wrong_secret"
        assert await verdict(method, KEY.replace(SECRET, OTHER_SECRET)) == "shop"


async def test_every_pause_without_redis_ends_with_a_look(world: World) -> None:
    async with world.running():
        for _ in range(20):
            before = world.store.api_keys.queries
            await world.turn(world.directory._pause() * 0.8)
            assert world.store.api_keys.queries > before
        assert world.directory._pause() <= FRESH / 2


async def test_with_redis_a_change_is_looked_for_at_once(world: World) -> None:
    world.redis = FakeRedis()
    record = world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        assert world.directory._pause() <= 1.0
        queries = world.store.api_keys.queries
        await world.turn(0.5)
        assert world.store.api_keys.queries == queries  # nothing has changed
        world.store.api_keys.put(record, revoked_at=1)
        world.redis.number += 1
        await world.turn(0.5)
        assert await verdict(method, KEY) == "revoked"


async def test_without_word_from_redis_the_database_is_looked_into_in_time(world: World) -> None:
    world.redis = FakeRedis()
    record = world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        world.redis.away = True
        world.store.api_keys.put(record, revoked_at=1)
        await world.turn(5)
        assert await verdict(method, KEY) == "revoked"


async def test_a_change_that_could_not_be_read_is_not_forgotten(world: World) -> None:
    world.redis = FakeRedis()
    record = world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        world.store.api_keys.put(record, revoked_at=1)
        world.redis.number += 1
        world.store.api_keys.failure = AWAY
        await world.turn(0.5)
        world.store.api_keys.failure = None
        await world.turn(0.5)
        assert await verdict(method, KEY) == "revoked"


async def test_only_changed_keys_are_read_and_more_than_a_batch_of_them(world: World) -> None:
    table = world.store.api_keys
    for number in range(2 * BATCH + 1):
        table.put(key_record(f"{number:012d}", SECRET))
    async with world.running():
        assert len(world.directory.keys.by_id) == 2 * BATCH + 1
        before = table.queries
        table.put(key_record(KEY_ID, SECRET))
        await world.turn(5)
        assert KEY_ID in world.directory.keys.by_id
        assert table.queries - before == 2  # the version, and one batch


async def test_a_database_that_is_made_anew_is_read_anew(world: World) -> None:
    table = world.store.api_keys
    record = table.put(key_record(KEY_ID, SECRET))
    table.put(record)
    async with world.running() as method:
        table.start_over()
        table.put(key_record(OTHER_ID, OTHER_SECRET))
        await world.turn(5)
        assert await verdict(method, OTHER) == "shop"
        assert await verdict(method, KEY) == "unknown_key"


async def test_a_database_that_lags_behind_makes_no_revoked_key_good(world: World) -> None:
    table = world.store.api_keys
    record = table.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        table.put(record, revoked_at=1)
        await world.turn(5)
        assert await verdict(method, KEY) == "revoked"
        table.start_over()
        table.put(record)  # as it was before
        await world.turn(5)
        assert await verdict(method, KEY) == "revoked"


@pytest.mark.parametrize(
    ("seconds", "known", "unknown"),
    [
        (FRESH - 1, "shop", "unknown_key"),
        (FRESH + 1, "shop", "unavailable"),
        (99, "shop", "unavailable"),
        (101, "unavailable", "unavailable"),
    ],
)
async def test_an_outage_with_stale(world: World, seconds: float, known: str, unknown: str) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running(max_stale=100) as method:
        world.store.api_keys.failure = AWAY
        await world.turn(seconds)
        assert await verdict(method, KEY) == known
        assert await verdict(method, OTHER) == unknown
        world.store.api_keys.failure = None
        await world.turn(1)
        assert await verdict(method, KEY) == "shop"
        assert await verdict(method, OTHER) == "unknown_key"


async def test_another_secret_may_be_a_new_one_in_an_outage(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    rotated = KEY.replace(SECRET, OTHER_SECRET)
    async with world.running() as method:
        world.store.api_keys.put(key_record(KEY_ID, OTHER_SECRET))
        world.store.api_keys.failure = AWAY
        await world.turn(FRESH + 1)
        assert await verdict(method, rotated) == "unavailable"
        world.store.api_keys.failure = None
        await world.turn(1)
        assert await verdict(method, rotated) == "shop"
        assert await verdict(method, KEY) == "wrong_secret"


@pytest.mark.parametrize(("seconds", "known"), [(FRESH - 1, "shop"), (FRESH + 1, "unavailable")])
async def test_an_outage_with_closed(world: World, seconds: float, known: str) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running(on_outage="closed") as method:
        world.store.api_keys.failure = AWAY
        await world.turn(seconds)
        assert await verdict(method, KEY) == known


async def test_malformed_keys_are_told_from_others_in_an_outage_too(world: World) -> None:
    world.store.api_keys.failure = AWAY
    async with world.running() as method:
        assert await verdict(method, "nonsense") == "malformed"


async def test_readiness_shows_redis_which_keys_can_do_without(world: World) -> None:
    world.redis = FakeRedis()
    world.redis.away = True
    async with world.running():
        report = await world.gateway.readiness.report()
    assert report["status"] == "ready"
    assert report["checks"]["redis"]["status"] == "down"


async def test_a_start_without_the_database_and_without_a_file_judges_nothing(
    world: World,
) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    world.store.api_keys.failure = AWAY
    async with world.running() as method:
        assert await verdict(method, KEY) == "unavailable"
        check, gates = world.gateway.readiness.checks["api_keys"]
        assert gates
        with pytest.raises(AuthUnavailable):
            await check()
        world.store.api_keys.failure = None
        await world.turn(1)
        await check()
        assert await verdict(method, KEY) == "shop"


async def test_a_start_without_the_database_goes_on_with_the_file(world: World) -> None:
    record = world.store.api_keys.put(key_record(KEY_ID, SECRET, networks=("192.0.2.0/24",)))
    async with world.running():
        pass
    world.store.api_keys.failure = AWAY
    async with world.running() as method:
        assert await verdict(method, KEY) == "shop"
        assert await verdict(method, OTHER) == "unavailable"
        # And from there it takes up what has changed meanwhile.
        world.store.api_keys.failure = None
        world.store.api_keys.put(record, revoked_at=1)
        await world.turn(1)
        assert await verdict(method, KEY) == "revoked"
        assert await verdict(method, OTHER) == "unknown_key"


async def test_closed_does_not_start_with_the_file(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running():
        pass
    world.store.api_keys.failure = AWAY
    async with world.running(on_outage="closed") as method:
        assert await verdict(method, KEY) == "unavailable"


async def test_a_file_that_is_too_old_judges_nothing(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running():
        pass
    file = world.folder / "snapshot"
    moment = file.stat().st_mtime - 101
    os.utime(file, (moment, moment))
    world.store.api_keys.failure = AWAY
    async with world.running(max_stale=100) as method:
        assert await verdict(method, KEY) == "unavailable"


async def test_the_file_tells_until_when_it_was_true(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    file = world.folder / "snapshot"
    async with world.running():
        os.utime(file, (1, 1))
        await world.turn(11)  # nothing has changed, and that is what it notes
        assert file.stat().st_mtime > 1


async def test_a_file_that_could_not_be_written_is_not_called_true(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = world.store.api_keys.put(key_record(KEY_ID, SECRET))
    file = world.folder / "snapshot"

    def full(*_: object) -> None:
        raise OSError("no space left")

    async with world.running():
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            world.store.api_keys.put(record, revoked_at=1)
            await world.turn(5)
            os.utime(file, (1, 1))
            await world.turn(11)
            assert file.stat().st_mtime == 1
            assert KEY_ID.encode() in file.read_bytes()
        await world.turn(11)
        assert KEY_ID.encode() not in file.read_bytes()


@pytest.mark.parametrize("harm", ["bytes", "pepper", "database", "empty"])
async def test_a_file_that_was_tampered_with_is_not_used(world: World, harm: str) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running():
        pass
    file = world.folder / "snapshot"
    settings: dict[str, Any] = {}
    if harm == "bytes":
        file.write_bytes(file.read_bytes().replace(b'"reader"', b'"admin"'))
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "database":
        world.store = FakeStore("sqlite:///another.db")
    else:
        settings = {"pepper": "another pepper that is long enough"}
    world.store.api_keys.failure = AWAY
    async with world.running(**settings) as method:
        assert await verdict(method, KEY) == "unavailable"


async def test_the_file_is_its_owners_and_holds_no_key(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    async with world.running():
        pass
    file = world.folder / "snapshot"
    assert file.stat().st_mode & 0o777 == 0o600
    assert SECRET.encode() not in file.read_bytes()
    assert [one.name for one in world.folder.iterdir()] == ["snapshot"]


async def test_a_file_that_cannot_be_written_harms_nothing(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    (world.folder / "file").write_text("")
    async with world.running(snapshot_file=str(world.folder / "file" / "below")) as method:
        assert await verdict(method, KEY) == "shop"


async def test_keys_above_the_bound_are_not_called_invalid(world: World) -> None:
    table = world.store.api_keys
    first = table.put(key_record(KEY_ID, SECRET))
    table.put(key_record(OTHER_ID, OTHER_SECRET))
    async with world.running(max_keys=1) as method:
        assert await verdict(method, KEY) == "shop"
        assert await verdict(method, OTHER) == "unavailable"
        table.put(first, revoked_at=1)
        await world.turn(5)
        assert await verdict(method, OTHER) == "shop"
        assert await verdict(method, KEY) == "revoked"


async def test_a_second_start_does_nothing(world: World) -> None:
    async with world.running() as method:
        queries = world.store.api_keys.queries
        await method.start()
        assert world.store.api_keys.queries == queries


def differences(world: World) -> float:
    return world.directory._differences.value


async def compare(world: World) -> None:
    """Let a comparison of all keys fall due, and do its first batch."""
    await world.turn(2 * COMPARE_INTERVAL)


def change_unnoticed(world: World, key_id: str, **changes: Any) -> None:
    """Change a row, and no version."""
    rows = world.store.api_keys.rows
    rows[key_id] = replace(rows[key_id], **changes)


@pytest.mark.parametrize("redis", [False, True])
async def test_a_revocation_that_no_version_tells_of_is_found(world: World, redis: bool) -> None:
    if redis:
        world.redis = FakeRedis()
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    world.store.api_keys.put(key_record(OTHER_ID, OTHER_SECRET))
    async with world.running() as method:
        assert await verdict(method, OTHER) == "shop"
        change_unnoticed(world, KEY_ID, revoked_at=1)
        await world.turn(COMPARE_INTERVAL - 1)
        assert await verdict(method, KEY) == "shop"  # not yet: all keys are not read all the time
        await world.turn(COMPARE_INTERVAL + 1)
        assert await verdict(method, KEY) == "revoked"
        assert method.remembered(OTHER.encode()) is not None  # it need not be hashed again
        assert differences(world) == 1
        await compare(world)
        assert differences(world) == 1


async def test_a_version_that_was_given_again_hides_no_revocation(world: World) -> None:
    """The database failed over, lost commits, and gave their versions to others."""
    table = world.store.api_keys
    first = table.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        table.put(key_record(OTHER_ID, OTHER_SECRET))
        await world.turn(5)
        table.start_over()
        table.put(first)
        table.put(first, revoked_at=1)
        await world.turn(5)
        assert await verdict(method, KEY) == "shop"
        await compare(world)
        assert await verdict(method, KEY) == "revoked"
        assert await verdict(method, OTHER) == "unknown_key"
        assert differences(world) == 2


async def test_secrets_and_new_keys_are_compared_too(world: World) -> None:
    table = world.store.api_keys
    table.put(key_record(KEY_ID, SECRET))
    table.put(key_record("f" * 16, SECRET))
    async with world.running() as method:
        change_unnoticed(world, KEY_ID, hash=key_record(KEY_ID, OTHER_SECRET).hash)
        table.rows[OTHER_ID] = key_record(OTHER_ID, OTHER_SECRET, version=1)
        assert await verdict(method, OTHER) == "unknown_key"
        await compare(world)
        assert await verdict(method, KEY) == "wrong_secret"
        assert await verdict(method, KEY.replace(SECRET, OTHER_SECRET)) == "shop"
        assert await verdict(method, OTHER) == "shop"
        assert differences(world) == 2


async def test_uses_and_changes_that_are_followed_are_no_differences(world: World) -> None:
    table = world.store.api_keys
    record = table.put(key_record(KEY_ID, SECRET))
    table.put(key_record(OTHER_ID, OTHER_SECRET))
    async with world.running() as method:
        world.directory._next_look = float("inf")  # so that the comparison hears of it first
        change_unnoticed(world, OTHER_ID, last_used_at=7)
        table.put(record, revoked_at=1)
        await compare(world)
        assert await verdict(method, KEY) == "revoked"
        assert differences(world) == 0


async def test_a_comparison_takes_turns_with_everything_else(world: World) -> None:
    table = world.store.api_keys
    record = table.put(key_record(KEY_ID, SECRET))
    other = table.put(key_record(OTHER_ID, OTHER_SECRET))
    for number in range(2 * BATCH):
        table.put(key_record(f"{number:016d}", SECRET))
    async with world.running() as method:
        change_unnoticed(world, f"{2 * BATCH - 1:016d}", owner="bakery")
        await compare(world)
        assert world.directory._pause() == COMPARE_PAUSE
        # What was read already changes, and is heard of before the comparison ends.
        table.put(record, revoked_at=1)
        table.put(other, owner="florist")
        before = table.queries
        await world.turn(5)
        assert await verdict(method, KEY) == "revoked"
        assert table.queries - before == 3  # the version, what has changed, and one batch
        assert differences(world) == 0
        await world.turn(COMPARE_PAUSE)
        assert differences(world) == 1
        assert world.directory._pause() > COMPARE_PAUSE
        assert await verdict(method, KEY) == "revoked"
        assert await verdict(method, OTHER) == "florist"
        assert world.directory.keys.by_id[f"{2 * BATCH - 1:016d}"].principal.id == "bakery"
        assert len(world.directory.keys.by_id) == 2 * BATCH + 1


@pytest.mark.parametrize("reads", [0, 1])
async def test_a_comparison_that_fails_changes_nothing_and_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    table = world.store.api_keys
    table.put(key_record(KEY_ID, SECRET))
    for number in range(BATCH):
        table.put(key_record(f"{number:016d}", SECRET))
    changed_since, left = table.changed_since, reads

    async def failing(version: int, limit: int = 1000) -> list[Any]:
        nonlocal left
        if left == 0:
            raise AWAY
        left -= 1
        return await changed_since(version, limit)

    async with world.running() as method:
        change_unnoticed(world, KEY_ID, revoked_at=1)
        with monkeypatch.context() as patch:
            patch.setattr(table, "changed_since", failing)
            await compare(world)
            await world.turn(COMPARE_PAUSE)
            assert len(world.directory.keys.by_id) == BATCH + 1
            assert await verdict(method, KEY) == "shop"
            assert world.directory._failures["compare"].value == 1
            assert world.directory._pause() > COMPARE_PAUSE
        await world.turn(0.8 * world.directory._pause())
        await world.turn(COMPARE_PAUSE)
        assert await verdict(method, KEY) == "revoked"


async def test_nothing_is_compared_while_the_database_is_away(world: World) -> None:
    table = world.store.api_keys
    table.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        change_unnoticed(world, KEY_ID, revoked_at=1)
        table.failure = AWAY
        await compare(world)
        assert world.directory._failures["compare"].value == 0
        assert await verdict(method, KEY) == "shop"
        table.failure = None
        await world.turn(1)
        assert await verdict(method, KEY) == "revoked"


async def test_a_database_that_is_made_anew_ends_a_comparison(world: World) -> None:
    table = world.store.api_keys
    for number in range(BATCH):
        table.put(key_record(f"{number:016d}", SECRET))
    async with world.running() as method:
        await compare(world)
        assert world.directory._pause() == COMPARE_PAUSE
        table.start_over()
        table.put(key_record(KEY_ID, SECRET))
        await world.turn(5)
        assert world.directory._pause() > COMPARE_PAUSE
        assert list(world.directory.keys.by_id) == [KEY_ID]
        assert await verdict(method, KEY) == "shop"
        assert differences(world) == 0


async def test_an_outage_ends_a_comparison(world: World) -> None:
    table = world.store.api_keys
    for number in range(BATCH):
        table.put(key_record(f"{number:016d}", SECRET))
    table.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        await compare(world)
        table.failure = AWAY
        await world.turn(5)
        # Another node takes over, in which a key that was not read yet has a lower version.
        table.failure = None
        table.rows = {KEY_ID: table.rows.pop(KEY_ID), **table.rows}
        for version, key_id in enumerate(table.rows, 1):
            change_unnoticed(world, key_id, version=version)
        for _ in range(3):
            await world.turn(1)
        assert await verdict(method, KEY) == "shop"
        assert len(world.directory.keys.by_id) == BATCH + 1
        assert differences(world) == 0


async def test_what_a_lagging_replica_says_in_a_comparison_does_not_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = world.store.api_keys
    old = table.put(key_record(KEY_ID, SECRET))
    async with world.running() as method:
        table.put(key_record(KEY_ID, OTHER_SECRET))
        await world.turn(5)
        changed_since, answers = table.changed_since, [[old]]

        async def lagging_once(version: int, limit: int = 1000) -> list[Any]:
            return answers.pop() if answers else await changed_since(version, limit)

        monkeypatch.setattr(table, "changed_since", lagging_once)
        await compare(world)
        assert not answers
        assert await verdict(method, KEY) == "wrong_secret"
        assert differences(world) == 0


async def test_the_file_does_not_keep_what_a_comparison_has_put_right(world: World) -> None:
    world.store.api_keys.put(key_record(KEY_ID, SECRET))
    file = world.folder / "snapshot"
    async with world.running():
        change_unnoticed(world, KEY_ID, revoked_at=1)
        assert KEY_ID.encode() in file.read_bytes()
        await compare(world)
        assert KEY_ID.encode() not in file.read_bytes()


async def test_a_comparison_heeds_the_bound(world: World) -> None:
    table = world.store.api_keys
    table.put(key_record(KEY_ID, SECRET))
    table.put(key_record(OTHER_ID, OTHER_SECRET))
    async with world.running(max_keys=1) as method:
        await compare(world)
        assert await verdict(method, OTHER) == "unavailable"
        change_unnoticed(world, KEY_ID, revoked_at=1)
        await compare(world)
        assert await verdict(method, OTHER) == "shop"


async def test_keys_that_were_left_out_are_not_forgotten_by_a_look_that_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = world.store.api_keys
    first = table.put(key_record(KEY_ID, SECRET))
    table.put(key_record(OTHER_ID, OTHER_SECRET))
    async with world.running(max_keys=1) as method:
        table.put(first, name="another")
        with monkeypatch.context() as patch:
            patch.setattr(table, "changed_since", None)
            await world.turn(5)
        assert await verdict(method, OTHER) == "unavailable"
