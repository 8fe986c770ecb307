"""Routes and services that come from the store."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sqlite3
import stat
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from gatewayd.cli import main
from gatewayd.config.load import LoadedConfig, load
from gatewayd.config.stored import save_snapshot
from gatewayd.errors import ConfigError
from gatewayd.store.settings import StoreConfig
from gatewayd.store.store import Store
from tests.support.process import free_port

if TYPE_CHECKING:
    from pathlib import Path

PIPELINE = 'pipeline.filters = ["route_match", "auth", "balancer", "upstream"]\n'
SOURCES = 'config.sources = ["file", "store"]\n'
ORIGIN = 'services.origin.instances = [{ url = "http://127.0.0.1:9" }]\n'
ROUTE = {"name": "stored", "path": "/stored", "service": "stored", "auth_required": True}
SERVICE = {"instances": [{"url": "http://127.0.0.1:8", "weight": 2}], "connect_timeout": 1.5}
DEEP: Any = functools.reduce(lambda inner, _: [inner], range(500), "bottom")


class Folder:
    """A configuration file and a store beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "gateway.toml"
        self.snapshot = path / "snapshot.json"
        self.url = f"sqlite:///{path}/gatewayd.db"

    def put(self, routes: list[Any], services: dict[str, Any]) -> None:
        """Put routes and services into the store."""

        async def work() -> None:
            store = Store(StoreConfig(url=self.url))
            await store.start()
            await store.routes.replace_all(routes, services)
            await store.close()

        asyncio.run(work())

    def sql(self, statement: str) -> None:
        """Change the store by hand."""
        with closing(sqlite3.connect(self.path / "gatewayd.db")) as database, database:
            database.execute(statement)

    def use(self) -> None:
        """Have a gateway take the configuration over, as far as the snapshot is concerned."""
        loaded = self.load()
        assert loaded.stored is not None
        save_snapshot(loaded.config.config, loaded.stored)

    def load(self, text: str = "", *, url: str | None = None, **settings: str) -> LoadedConfig:
        lines = {"store.url": url or self.url, "config.snapshot": str(self.snapshot)}
        lines |= {key.replace("__", "."): value for key, value in settings.items()}
        head = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        self.file.write_text(PIPELINE + SOURCES + head + text)
        return load(self.file, environ={})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_stored_routes_stand_beside_those_of_the_files(folder: Folder) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    config = folder.load(ORIGIN + 'routes = [{ name = "filed", service = "origin" }]').config
    assert [route.name for route in config.routes] == ["filed", "stored"]
    assert set(config.services) == {"origin", "stored"}
    assert config.services["stored"].connect_timeout == 1.5


def test_shorthands_of_stored_routes_are_expanded(folder: Folder) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    (route,) = folder.load().config.routes
    assert route.filters == {"auth": {"required": True}}


def test_without_the_source_the_store_is_not_read(folder: Folder) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    folder.file.write_text(f'{PIPELINE}store.url = "{folder.url}"\n')
    assert load(folder.file, environ={}).config.routes == []


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (ROUTE | {"timeout": -1}, "store, route 'stored': routes[0].timeout: "),
        (ROUTE | {"timeuot": 1}, "store, route 'stored': routes[0].timeuot: unknown key"),
        (ROUTE | {"filters": {"auth": DEEP}}, "store, route 'stored': routes[0]: nested too deep"),
        (ROUTE | {"service": "nowhere"}, "store, route 'stored': routes[0].service: service"),
    ],
)
def test_errors_name_the_row(folder: Folder, route: dict[str, Any], expected: str) -> None:
    folder.put([route], {"stored": SERVICE})
    with pytest.raises(ConfigError) as caught:
        folder.load()
    assert str(caught.value.issues[0]).startswith(expected)


def test_a_table_that_is_too_long_is_named(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put([ROUTE, ROUTE | {"name": "other"}], {"stored": SERVICE})
    monkeypatch.setattr("gatewayd.store.routes.MAX_ROWS", 1)
    with pytest.raises(ConfigError) as caught:
        folder.load()
    assert [str(issue) for issue in caught.value.issues] == [
        "store, table 'routes': it has more than 1 rows"
    ]


def test_a_service_that_is_nested_too_deep_is_named(folder: Folder) -> None:
    folder.put([], {"stored": SERVICE | {"filters": {"auth": {"a": DEEP}}}})
    with pytest.raises(ConfigError, match=r"store, service 'stored': .*nested too deep"):
        folder.load()


def test_a_route_belongs_to_one_source(folder: Folder) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    with pytest.raises(ConfigError, match="'stored' is defined twice"):
        folder.load(ORIGIN + 'routes = [{ name = "stored", service = "origin" }]')


def test_a_service_belongs_to_one_source(folder: Folder) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    with pytest.raises(ConfigError, match="service 'stored' is in the store as well"):
        folder.load('services.stored.instances = [{ url = "http://127.0.0.1:9" }]')


def away() -> str:
    return f"mysql://u:secret@127.0.0.1:{free_port()}/gateway_db"


def test_a_store_that_is_away_is_no_configuration(folder: Folder) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    folder.load()
    with pytest.raises(ConfigError, match="the store cannot be read") as caught:
        folder.load(url=away())
    assert "secret" not in str(caught.value)


def test_what_is_wrong_with_the_files_is_told_as_well(folder: Folder) -> None:
    with pytest.raises(ConfigError) as caught:
        folder.load('services.origin.tls.ca = "${MISSING}"\n', url=away())
    keys = [issue.key for issue in caught.value.issues]
    assert keys == ["services.origin.tls.ca", "config.sources"]


def test_a_store_whose_password_is_missing_is_not_asked(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock()
    monkeypatch.setattr("gatewayd.store.store.Store.start", asked)
    with pytest.raises(ConfigError) as caught:
        folder.load(url="mysql://u:${MISSING}@127.0.0.1/gateway_db")
    assert [issue.key for issue in caught.value.issues] == ["store.url", "config.sources"]
    asked.assert_not_called()


def test_where_the_policy_says_so_the_last_snapshot_is_used(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    folder.use()
    config = folder.load(url=away(), config__on_outage="stale").config
    assert [route.name for route in config.routes] == ["stored"]
    assert "the store cannot be read, using" in caplog.text
    assert "secret" not in caplog.text


def test_without_a_snapshot_there_is_nothing_to_use(folder: Folder) -> None:
    with pytest.raises(ConfigError, match="nor can the snapshot"):
        folder.load(url=away(), config__on_outage="stale")


def test_the_snapshot_is_its_owners(folder: Folder) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    folder.use()
    assert stat.S_IMODE(folder.snapshot.stat().st_mode) == 0o600


def test_a_snapshot_that_cannot_be_written_is_told(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder.put([ROUTE], {"stored": SERVICE})
    folder.snapshot.mkdir()
    folder.use()
    assert "cannot be written" in caplog.text
    assert [file for file in folder.path.iterdir() if file.name.startswith(".snapshot")] == []


def test_a_configuration_that_is_only_looked_at_leaves_the_snapshot_alone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    folder.use()
    folder.put([ROUTE | {"timeout": -1}], {"stored": SERVICE})
    assert run(monkeypatch, "check", "-c", str(folder.file)) == 1
    folder.put([], {})
    assert run(monkeypatch, "check", "-c", str(folder.file)) == 0
    config = folder.load(url=away(), config__on_outage="stale").config
    assert [route.name for route in config.routes] == ["stored"]


def test_a_start_from_the_snapshot_does_not_write_it(folder: Folder) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    folder.use()
    assert folder.load(url=away(), config__on_outage="stale").stored is None


@pytest.mark.parametrize(
    "text", ["{}", "[]", "{", '{"routes": [7], "services": {}}', '{"routes": [], "services": []}']
)
def test_a_snapshot_that_is_none_is_told(folder: Folder, text: str) -> None:
    folder.snapshot.write_text(text)
    with pytest.raises(ConfigError, match="nor can the snapshot"):
        folder.load(url=away(), config__on_outage="stale")


BROKEN = [
    ("UPDATE routes SET definition = '[1]'", "route 'stored'", "definition is no JSON object"),
    ("UPDATE routes SET definition = '{'", "route 'stored'", "definition is no JSON object"),
    ("UPDATE services SET definition = 'null'", "service 'stored'", "definition is no JSON object"),
    (
        'UPDATE routes SET definition = \'{"name": "other"}\'',
        "route 'stored'",
        "its definition has another name",
    ),
    (
        "UPDATE services SET definition = '{\"instances\": 7}'",
        "service 'stored'",
        "instances is no JSON array",
    ),
]


@pytest.mark.parametrize(("statement", "row", "reason"), BROKEN)
@pytest.mark.parametrize("policy", ["closed", "stale"])
def test_a_row_that_cannot_be_read_is_named(
    folder: Folder, statement: str, row: str, reason: str, policy: str
) -> None:
    folder.put([ROUTE], {"stored": SERVICE})
    folder.use()
    folder.sql(statement)
    with pytest.raises(ConfigError) as caught:
        folder.load(config__on_outage=policy)
    assert [str(issue) for issue in caught.value.issues] == [f"store, {row}: {reason}"]


def test_all_rows_that_cannot_be_read_are_named(folder: Folder) -> None:
    folder.put([ROUTE, ROUTE | {"name": "second"}], {"stored": SERVICE})
    folder.sql("UPDATE routes SET definition = '['")
    with pytest.raises(ConfigError) as caught:
        folder.load()
    assert len(caught.value.issues) == 2


async def test_it_is_read_within_an_event_loop_as_well(folder: Folder) -> None:
    await asyncio.to_thread(folder.put, [ROUTE], {"stored": SERVICE})
    assert len(folder.load().config.routes) == 1


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gatewayd", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    "instance", ['weight = "2"', 'healthy = "false"', 'url = "http://127.0.0.1:8/"']
)
def test_import_takes_what_a_file_may_say(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, instance: str
) -> None:
    url = "" if "url" in instance else 'url = "http://127.0.0.1:8", '
    source = folder.path / "source.toml"
    source.write_text(
        f'{PIPELINE}store.url = "{folder.url}"\n'
        f"services.stored.instances = [{{ {url}{instance} }}]\n"
    )
    assert run(monkeypatch, "store", "import", "-c", str(source)) == 0
    assert "stored" in folder.load().config.services


FILE = """
[services.stored]
connect_timeout = 1.5
instances = [{ url = "http://127.0.0.1:8", weight = 2 }]
[[routes]]
name = "stored"
path = "/stored"
service = "stored"
auth_required = true
"""


def test_import_writes_what_a_file_says(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.put([ROUTE | {"name": "old"}], {"old": SERVICE})
    source = folder.path / "source.toml"
    source.write_text(f'{PIPELINE}{SOURCES}store.url = "{folder.url}"\n{FILE}')
    assert run(monkeypatch, "store", "import", "-c", str(source)) == 0
    assert capsys.readouterr().out == "1 routes, 1 services are in the store\n"
    config = folder.load().config
    assert [route.name for route in config.routes] == ["stored"]
    assert config.routes[0].filters == {"auth": {"required": True}}
    assert config.services["stored"].connect_timeout == 1.5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FILE.replace("auth_required", "auth_requierd"), "unknown key"),
        (FILE + 'headers = { X-Key = "${SECRET}" }\n', "do not belong into the database"),
    ],
)
def test_what_is_not_imported(
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    reason: str,
) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    source = folder.path / "source.toml"
    source.write_text(f'{PIPELINE}store.url = "{folder.url}"\n{text}')
    assert run(monkeypatch, "store", "import", "-c", str(source)) == 1
    assert reason in capsys.readouterr().err
