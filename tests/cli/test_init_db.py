"""gatewayd init-db."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.cli import main
from gatewayd.store.schema import HEAD
from tests.support.mariadb import MariaDb
from tests.support.process import free_port
from tests.support.servers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUTES = """
services.origin.instances = [{ url = "http://127.0.0.1:9" }]
routes = [{ name = "all", service = "origin" }]
pipeline.filters = ["route_match", "balancer", "upstream"]
"""


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with MariaDb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command for a store; returns exit status, output and errors."""

    def command(url: str, *arguments: str) -> tuple[int, str, str]:
        file = tmp_path / "gateway.toml"
        file.write_text(f'store.url = "{url}"\n{ROUTES}')
        monkeypatch.setattr(sys, "argv", ["gatewayd", "init-db", "-c", str(file), *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return command


@pytest.fixture(params=["sqlite", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/var/gatewayd.db"
    server: MariaDb = request.getfixturevalue("mariadb")
    return server.url(f"gateway_{request.node.name.partition('[')[0]}"[:60])


def test_makes_database_and_tables(run: Any, url: str) -> None:
    status, out, _ = run(url, "--json")
    assert (status, json.loads(out)["version"]) == (0, HEAD)


def test_running_it_again_changes_nothing(run: Any, url: str) -> None:
    assert run(url)[0] == run(url)[0] == 0


def test_only_looks_where_asked_to(run: Any, tmp_path: Path) -> None:
    status, out, _ = run(f"sqlite:///{tmp_path}/var/gatewayd.db", "--check-only")
    assert (status, out.strip().endswith("run gatewayd init-db")) == (1, True)
    assert not (tmp_path / "var").exists()


def test_finds_what_was_made(run: Any, url: str) -> None:
    run(url)
    assert run(url, "--check-only")[0] == 0


def test_runs_a_file(run: Any, mariadb: MariaDb) -> None:
    script = REPOSITORY / "deploy" / "sql" / "init_database.sql"
    status, out, _ = run(mariadb.url("gateway_db"), "--sql-file", str(script))
    assert (status, HEAD in out) == (0, True)
    mariadb.client("DROP DATABASE gateway_db")


def test_tables_of_a_newer_version(run: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/var/gatewayd.db"
    run(url)
    with closing(sqlite3.connect(tmp_path / "var/gatewayd.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    status, out, err = run(url)
    assert (status, out) == (1, "")
    assert err == (
        f"{tmp_path}/var/gatewayd.db has version 9999 of the tables, expected {HEAD}; "
        "a newer gatewayd made them: install that one, or restore a backup\n"
    )


@pytest.mark.parametrize("arguments", [(), ("--check-only",)])
def test_a_server_that_is_away(run: Any, arguments: tuple[str, ...]) -> None:
    status, out, err = run(f"mysql://u:secret@127.0.0.1:{free_port()}/gateway_db", *arguments)
    assert (status, out) == (1, "")
    assert "127.0.0.1" in err
    assert "secret" not in err
    assert "Traceback" not in err


def test_the_password_is_not_printed(run: Any, mariadb: MariaDb) -> None:
    _, out, err = run(mariadb.url("gateway_password"))
    assert "p%40ss" not in out + err
    assert "p@ss" not in out + err
