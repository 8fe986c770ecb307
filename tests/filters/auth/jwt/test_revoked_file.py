"""The list of revoked tokens in a file, for a start without the store."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gatewayd import GatewayError
from gatewayd.store.settings import StoreConfig
from gatewayd.store.setup import initialize
from gatewayd.store.store import Store
from gatewayd.testing import FakeClock
from gatewayd_filters.auth.jwt.config import JwtConfig
from gatewayd_filters.auth.jwt.revocation import RevokedTokens
from gatewayd_filters.auth.jwt.revoked_file import MAX_IDS, RevokedFile
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def file(tmp_path: Path) -> RevokedFile:
    return RevokedFile(tmp_path / "var" / "revoked.json", "here")


def test_it_comes_back_as_it_went(file: RevokedFile) -> None:
    file.save({"a", "b "})
    ids, known_at = file.load()
    assert ids == {"a", "b "}
    assert abs(known_at - time.time()) < 60


def test_confirming_makes_it_younger(file: RevokedFile) -> None:
    file.save({"a"})
    os.utime(file.path, (1, 1))
    file.confirm()
    assert file.load()[1] > 1


def test_only_its_owner_can_read_it(file: RevokedFile) -> None:
    file.save({"a"})
    assert file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_one_that_others_may_write_is_not_used(file: RevokedFile, mode: int) -> None:
    file.save({"a"})
    file.path.chmod(mode)
    with pytest.raises(GatewayError, match="may write"):
        file.load()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b'{"source":"here"}', b'{"ids":[]}', b'{"source":"here","ids":7}'],
)
def test_a_damaged_one_is_not_used(file: RevokedFile, content: bytes) -> None:
    file.save({"a"})
    file.path.write_bytes(content)
    with pytest.raises(GatewayError, match="damaged"):
        file.load()


def test_one_of_another_database_is_not_used(file: RevokedFile) -> None:
    file.save({"a"})
    with pytest.raises(GatewayError, match="another database"):
        RevokedFile(file.path, "there").load()


def test_too_many_are_not_kept_and_no_older_list_either(file: RevokedFile) -> None:
    file.save({"a"})
    with pytest.raises(GatewayError, match="more than are kept"):
        file.save([str(number) for number in range(MAX_IDS + 1)])
    assert not file.path.exists()


def config_with(tmp_path: Path, **settings: Any) -> JwtConfig:
    given = {
        "algorithms": ["HS256"],
        "secret": SECRET,
        "revocation": True,
        "revocation_file": str(tmp_path / "revoked.json"),
    }
    return JwtConfig.model_validate(given | settings)


def tokens(config: JwtConfig, store: Store) -> RevokedTokens:
    return RevokedTokens(config, store, FakeClock(), lambda _: None)


def away() -> Store:
    url = f"mysql://u:p@127.0.0.1:{free_port()}/gateway_db"
    return Store(StoreConfig(url=url, retries=0, timeout=1, connect_timeout=1))


async def save_list(tmp_path: Path, config: JwtConfig) -> None:
    """Revoke a token in a real store, and let a gateway read it."""
    store_config = StoreConfig(url=f"sqlite:///{tmp_path}/gatewayd.db")
    await initialize(store_config)
    store = Store(store_config)
    await store.start()
    await store.revoked_tokens.add("stolen", int((time.time() + 60) * 1e6))
    revoked = tokens(config, store)
    try:
        await revoked.start()
        assert "stolen" in revoked
    finally:
        await revoked.close()
        await store.close()


@asynccontextmanager
async def without_store(config: JwtConfig, source: str) -> AsyncIterator[RevokedTokens]:
    """Start where the database that the file is of is away."""
    store = away()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatewayd_filters.auth.jwt.revocation.database_of", lambda _: source)
        revoked = tokens(config, store)
    try:
        await revoked.start()
        yield revoked
    finally:
        await revoked.close()
        await store.close()


def source_of(tmp_path: Path) -> str:
    source: str = orjson.loads((tmp_path / "revoked.json").read_bytes())["source"]
    return source


async def test_a_start_without_the_store_knows_what_was_revoked(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    await save_list(tmp_path, config)
    async with without_store(config, source_of(tmp_path)) as revoked:
        assert "stolen" in revoked
        assert 0 < revoked.remaining <= config.max_stale


async def test_a_file_that_cannot_be_written_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    config = config_with(tmp_path, revocation_file=str(tmp_path / "file" / "revoked.json"))
    store = Store(StoreConfig(url=f"sqlite:///{tmp_path}/gatewayd.db"))
    await initialize(store.config)
    revoked = tokens(config, store)
    try:
        await revoked.start()
        await revoked.read()
    finally:
        await revoked.close()
        await store.close()
    assert caplog.text.count("the file of revoked tokens cannot be written") == 1


async def test_where_the_policy_is_closed_no_file_is_relied_on(tmp_path: Path) -> None:
    config = config_with(tmp_path, on_outage="closed")
    await save_list(tmp_path, config)
    assert not (tmp_path / "revoked.json").exists()
    async with without_store(config, "any") as revoked:
        assert revoked.remaining == 0


async def test_a_list_that_is_too_old_is_not_relied_on(tmp_path: Path) -> None:
    config = config_with(tmp_path, max_stale=10)
    await save_list(tmp_path, config)
    long_ago = time.time() - 60
    os.utime(tmp_path / "revoked.json", (long_ago, long_ago))
    async with without_store(config, source_of(tmp_path)) as revoked:
        assert revoked.remaining == 0


async def test_a_file_of_another_database_is_not_relied_on(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    await save_list(tmp_path, config)
    async with without_store(config, "another") as revoked:
        assert revoked.remaining == 0
