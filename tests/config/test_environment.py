"""Layers over the files: ``.env``, process environment, command line."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.config.environment import parse_value
from gatewayd.errors import ConfigError

if TYPE_CHECKING:
    from tests.support.configuration import ConfigFolder

TEXT = """\
pipeline.filters = ["limit", "login", "end"]
server.port = 1
"""


def port_of(folder: ConfigFolder, **arguments: Any) -> int:
    return folder.load(TEXT, **arguments).config.server.port


def test_each_layer_wins_over_the_ones_below(folder: ConfigFolder) -> None:
    environ: dict[str, str] = {}
    overrides: dict[str, object] = {}
    ports = [port_of(folder)]
    folder.write(".env", "GATEWAYD_SERVER__PORT=2")
    ports.append(port_of(folder))
    environ["GATEWAYD_SERVER__PORT"] = "3"
    ports.append(port_of(folder, environ=environ))
    overrides["server.port"] = 4
    ports.append(port_of(folder, environ=environ, overrides=overrides))
    assert ports == [1, 2, 3, 4]


def test_none_on_the_command_line_is_no_setting(folder: ConfigFolder) -> None:
    assert port_of(folder, overrides={"server.port": None}) == 1


def test_an_array_is_replaced_as_a_whole(folder: ConfigFolder) -> None:
    environ = {"GATEWAYD_PIPELINE__FILTERS": '["end"]'}
    assert folder.load(TEXT, environ=environ).config.pipeline.filters == ["end"]


def test_a_table_that_no_file_has(folder: ConfigFolder) -> None:
    environ = {"GATEWAYD_FILTERS__LIMIT__RATE": "7"}
    assert folder.load(TEXT, environ=environ).config.filters == {"limit": {"rate": 7}}


def test_other_keys_of_the_table_stay(folder: ConfigFolder) -> None:
    environ = {"GATEWAYD_FILTERS__LIMIT__RATE": "7"}
    loaded = folder.load(TEXT + "filters.limit.key = 'x'", environ=environ)
    assert loaded.config.filters == {"limit": {"rate": 7, "key": "x"}}


PLACES = [
    ({"environ": {"GATEWAYD_SERVER__PORT": "2"}}, "environment variable GATEWAYD_SERVER__PORT", 0),
    ({"overrides": {"server.port": 2}}, "command line", 0),
    ({}, ".env", 3),
]


@pytest.mark.parametrize(("arguments", "name", "line"), PLACES, ids=[row[1] for row in PLACES])
def test_where_names_the_layer(
    folder: ConfigFolder, arguments: dict[str, Any], name: str, line: int
) -> None:
    folder.write(".env", "\n# a comment\nGATEWAYD_SERVER__PORT=3\n")
    assert folder.load(TEXT, **arguments).where(("server", "port")) == (name, line)


# Which .env file.


@pytest.mark.parametrize(
    ("files", "env", "expected"),
    [
        ([], None, None),
        ([".env"], None, ".env"),
        ([".env", ".env.test"], None, ".env"),
        ([".env", ".env.test"], "test", ".env.test"),
        ([".env", ".env.test"], "other", ".env"),
        ([".env.test"], "other", None),
    ],
)
def test_which_file_is_read(
    folder: ConfigFolder, files: list[str], env: str | None, expected: str | None
) -> None:
    for name in files:
        folder.write(name, "A=1")
    loaded = folder.load(TEXT, env=env)
    assert [str(file) for file in loaded.files[1:]] == ([expected] if expected else [])


def test_a_folder_that_must_not_be_searched(
    folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == Path(".env"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return found(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert folder.errors(TEXT) == [
        ".env: cannot be looked for in the working directory: Permission denied"
    ]


def test_the_environment_names_the_file(folder: ConfigFolder) -> None:
    folder.write(".env.test", "GATEWAYD_SERVER__PORT=5")
    loaded = folder.load(TEXT, environ={"GATEWAYD_ENV": "test"})
    assert (loaded.env, loaded.config.server.port) == ("test", 5)


def test_the_argument_wins_over_the_variable(folder: ConfigFolder) -> None:
    assert folder.load(TEXT, env="a", environ={"GATEWAYD_ENV": "b"}).env == "a"


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "x" * 65])
def test_a_name_that_leads_elsewhere(folder: ConfigFolder, name: str) -> None:
    assert folder.errors(TEXT, env=name) == [
        "GATEWAYD_ENV: the name of an environment has letters, digits, _ and -, 64 at most"
    ]


def test_nothing_of_the_file_reaches_the_process(folder: ConfigFolder) -> None:
    folder.write(".env", "GATEWAYD_TEST_LEAK=1\nGATEWAYD_SERVER__PORT=5")
    before = dict(os.environ)
    folder.load(TEXT)
    assert dict(os.environ) == before


def test_values_of_the_file_are_taken_as_they_stand(folder: ConfigFolder) -> None:
    folder.write(".env", "A=1\nGATEWAYD_FILTERS__LOGIN__SECRET='p${A}$B'")
    assert folder.load(TEXT).config.filters["login"]["secret"] == "p${A}$B"


# Names.

EXPECTED = (
    "expected GATEWAYD_SECTION__KEY with a section of "
    "admin, audit, config, filters, logging, pipeline, redis, routing, server, store"
)
NAMES = [
    ("GATEWAYD_SERVER__PROT", "server.prot: unknown key (did you mean 'port'?)"),
    ("GATEWAYD_SEVER__PORT", "is no setting (did you mean GATEWAYD_SERVER__PORT?)"),
    ("GATEWAYD_SERVER_PORT", "is no setting (did you mean GATEWAYD_SERVER__PORT?)"),
    ("GATEWAYD_FILTERS", f"is no setting ({EXPECTED})"),
    ("GATEWAYD_FILTERS__", f"is no setting ({EXPECTED})"),
    ("GATEWAYD_ROUTES__A", f"is no setting ({EXPECTED})"),
    ("GATEWAYD_SERVER__PORT__X", "server.port: expected an integer"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES, ids=[row[0] for row in NAMES])
def test_a_name_that_is_no_setting(folder: ConfigFolder, name: str, expected: str) -> None:
    assert folder.errors(TEXT, environ={name: "1"}) == [f"environment variable {name}: {expected}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAYD_FILTERS__AUTH" + "__A" * 1200, "1"),
        ("GATEWAYD_FILTERS__AUTH__A", "[" * 300 + "]" * 300),
    ],
)
def test_what_is_nested_too_deep(folder: ConfigFolder, name: str, value: str) -> None:
    assert folder.errors(TEXT, environ={name: value}) == [
        f"environment variable {name}: nested too deep"
    ]


def test_an_unknown_name_in_the_file_has_a_line(folder: ConfigFolder) -> None:
    folder.write(".env", "A=1\n\nGATEWAYD_SERVER_PORT=1")
    assert folder.errors(TEXT) == [
        ".env:3: GATEWAYD_SERVER_PORT: is no setting (did you mean GATEWAYD_SERVER__PORT?)"
    ]


def test_the_file_cannot_choose_itself(folder: ConfigFolder) -> None:
    folder.write(".env", "GATEWAYD_ENV=test")
    assert folder.errors(TEXT) == [".env:1: GATEWAYD_ENV: chooses this file, it cannot stand in it"]


@pytest.mark.parametrize("name", ["GATEWAYD_ENV", "GATEWAYD_TEST_REQUIRE", "GATEWAY_X", "PATH"])
def test_names_that_are_not_ours(folder: ConfigFolder, name: str) -> None:
    assert port_of(folder, environ={name: "x"}) == 1


def test_a_line_that_is_no_assignment(folder: ConfigFolder) -> None:
    folder.write(".env", "A=1\n'oops\n")
    assert folder.errors(TEXT) == [".env:2: expected NAME=value"]


def test_a_file_that_is_no_text(folder: ConfigFolder) -> None:
    (folder.path / ".env").write_bytes(b"A=\xff")
    with pytest.raises(ConfigError, match=r"^\.env: not UTF-8$"):
        folder.load(TEXT)


def test_a_file_that_is_too_large(folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.config.environment.MAX_DOTENV_BYTES", 100)
    folder.write(".env", "#" * 101)
    assert folder.errors(TEXT) == [".env: larger than 100 bytes"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9000", 9000),
        ("1.5", 1.5),
        ("true", True),
        ('["a", "b"]', ["a", "b"]),
        ("{ a = 1 }", {"a": 1}),
        ('"12345"', "12345"),
        ("plain words", "plain words"),
        ("", ""),
        ("2024-01-01", "2024-01-01"),
        ("1\nother = 2", "1\nother = 2"),
        ("[" * 9000, "[" * 9000),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_a_variable_hides_no_mistake_of_the_file(folder: ConfigFolder) -> None:
    errors = folder.errors("server = 1", environ={"GATEWAYD_SERVER__PORT": "9000"})
    assert "gateway.toml:1: server: expected a table" in errors
