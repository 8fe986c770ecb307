"""One configuration from several files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewayd.errors import ConfigError

if TYPE_CHECKING:
    from tests.support.configuration import ConfigFolder

PIPELINE = 'pipeline.filters = ["limit", "login", "end"]\n'
ROUTE = '[[routes]]\nname = "{0}"\npath = "/{0}"\nredirect.to = "/"\n'
FIRST = f'include = ["more.toml"]\n{PIPELINE}'


def names(folder: ConfigFolder, text: str) -> list[str]:
    return [route.name for route in folder.load(text).config.routes]


def test_tables_are_merged(folder: ConfigFolder) -> None:
    folder.write("more.toml", "[server]\nport = 1\n[filters.limit]\nrate = 2")
    config = folder.load(FIRST + "server.workers = 3\nfilters.limit.key = 'x'").config
    assert (config.server.port, config.server.workers) == (1, 3)
    assert config.filters == {"limit": {"rate": 2, "key": "x"}}


def test_routes_are_put_one_after_the_other(folder: ConfigFolder) -> None:
    folder.write("more.toml", ROUTE.format("b") + ROUTE.format("c"))
    assert names(folder, FIRST + ROUTE.format("a")) == ["a", "b", "c"]


def test_every_key_stands_in_its_own_file(folder: ConfigFolder) -> None:
    folder.write("more.toml", f"[server]\nport = 1\n{ROUTE.format('b')}{ROUTE.format('c')}")
    loaded = folder.load(f"{FIRST}server.workers = 3\n{ROUTE.format('a')}")
    paths = [("server", "port"), ("server", "workers"), ("routes", 0, "name"), ("routes", 2)]
    assert [loaded.where(path) for path in paths] == [
        ("more.toml", 2), ("gateway.toml", 3), ("gateway.toml", 5), ("more.toml", 7),
    ]  # fmt: skip


def test_names_are_relative_to_the_file_that_includes(folder: ConfigFolder) -> None:
    folder.write("d/more.toml", 'include = ["e/last.toml"]')
    folder.write("d/e/last.toml", "server.port = 5")
    loaded = folder.load(f'include = ["d/more.toml"]\n{PIPELINE}')
    assert loaded.where(("server", "port")) == ("d/e/last.toml", 1)


def test_an_absolute_name(folder: ConfigFolder) -> None:
    path = folder.write("d/more.toml", "server.port = 5")
    assert folder.load(f'include = ["{path}"]\n{PIPELINE}').config.server.port == 5


def test_a_pattern_names_files_in_alphabetical_order(folder: ConfigFolder) -> None:
    for name in ("c", "a", "b"):
        folder.write(f"conf.d/{name}.toml", ROUTE.format(name))
    folder.write("conf.d/readme.txt", "not TOML")
    assert names(folder, f'include = ["conf.d/*.toml"]\n{PIPELINE}') == ["a", "b", "c"]


def test_a_pattern_may_name_nothing(folder: ConfigFolder) -> None:
    assert names(folder, f'include = ["conf.d/*.toml"]\n{PIPELINE}') == []


def test_a_file_whose_name_looks_like_a_pattern(folder: ConfigFolder) -> None:
    folder.write("a[1].toml", ROUTE.format("x"))
    assert names(folder, f'include = ["a[1].toml"]\n{PIPELINE}') == ["x"]


def test_a_name_from_the_environment(folder: ConfigFolder) -> None:
    folder.write("eu.toml", ROUTE.format("x"))
    text = f'include = ["${{REGION}}.toml"]\n{PIPELINE}'
    assert [route.name for route in folder.load(text, environ={"REGION": "eu"}).config.routes]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("hidden", "the file that its reference names does not exist"),
        ("hidden" * 50, "what its reference names cannot be read: File name too long"),
    ],
)
def test_what_a_reference_names_is_in_no_error(
    folder: ConfigFolder, value: str, expected: str
) -> None:
    text = f'include = ["${{TOP}}/x.toml"]\n{PIPELINE}'
    with pytest.raises(ConfigError) as caught:
        folder.load(text, environ={"TOP": value})
    assert str(caught.value) == f"gateway.toml:1: include[0]: {expected}"


def test_toml_and_yaml_side_by_side(folder: ConfigFolder) -> None:
    folder.write("routes.yaml", "routes:\n  - path: /b\n    redirect: {to: /}\n")
    text = f'include = ["routes.yaml"]\n{PIPELINE}{ROUTE.format("a")}'
    assert names(folder, text) == ["a", "b"]


CONFLICTS = [
    ("server.port = 1", "server.port = 1",
     "more.toml:1: server.port: is set in two files, first at gateway.toml:3"),
    ("server.trusted_proxies = []", "server.trusted_proxies = ['10.0.0.0/8']",
     "more.toml:1: server.trusted_proxies: is set in two files, first at gateway.toml:3"),
    ("[filters.limit]\nrate = 1", "\n[filters.limit]\nrate = 2",
     "more.toml:3: filters.limit.rate: is set in two files, first at gateway.toml:4"),
    ("[services.s]\ninstances = ['x']", "[services.s]\nmax_connections = 3",
     "more.toml:1: services.s: is set in two files, first at gateway.toml:3"),
    (ROUTE.format("a"), ROUTE.format("a"),
     "more.toml:2: routes[1].name: route 'a' is defined twice, first at gateway.toml:4"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "more", "expected"), CONFLICTS, ids=[r[2] for r in CONFLICTS])
def test_no_file_wins_over_another(
    folder: ConfigFolder, first: str, more: str, expected: str
) -> None:
    folder.write("more.toml", more)
    assert folder.errors(FIRST + first) == [expected]


def test_a_file_does_not_include_itself(folder: ConfigFolder) -> None:
    assert folder.errors('include = ["gateway.toml"]') == [
        "gateway.toml:1: include[0]: gateway.toml is read twice, first for the command line"
    ]


def test_files_do_not_include_each_other_in_a_circle(folder: ConfigFolder) -> None:
    folder.write("a.toml", 'include = ["b.toml"]')
    folder.write("b.toml", '\ninclude = ["a.toml"]')
    assert folder.errors('include = ["a.toml"]') == [
        "b.toml:2: include[0]: a.toml is read twice, first for gateway.toml:1"
    ]


def test_a_link_to_a_file_is_that_file(folder: ConfigFolder) -> None:
    folder.write("a.toml", "")
    (folder.path / "link.toml").symlink_to("a.toml")
    assert folder.errors('include = ["a.toml", "link.toml"]') == [
        "gateway.toml:1: include[1]: link.toml is read twice, first for gateway.toml:1"
    ]


def test_depth_is_bounded(folder: ConfigFolder) -> None:
    for number in range(10):
        folder.write(f"{number}.toml", f'include = ["{number + 1}.toml"]')
    assert folder.errors('include = ["0.toml"]') == [
        "7.toml:1: include[0]: more than 8 files include each other"
    ]


def test_number_of_files_is_bounded(folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.config.include.MAX_FILES", 2)
    folder.write("a.toml", "")
    folder.write("b.toml", "")
    assert folder.errors('include = ["a.toml", "b.toml"]') == [
        "gateway.toml:1: include[1]: b.toml is one too many, at most 2 are read"
    ]


UNUSABLE = [
    ("include = 'a.toml'", "gateway.toml:1: include: expected an array of file names"),
    ("include = [\n'none.toml']", "gateway.toml:2: include[0]: file 'none.toml' does not exist"),
    ("include = [1]", "gateway.toml:1: include[0]: expected a file name"),
    ("include = ['']", "gateway.toml:1: include[0]: expected a file name"),
    (f"include = ['{'x' * 300}']",
     f"gateway.toml:1: include[0]: '{'x' * 300}' cannot be read: File name too long"),
    ('include = ["a\\u0000"]', "gateway.toml:1: include[0]: file 'a\\x00' does not exist"),
    ("include = ['bad.toml']", "bad.toml:2: not TOML: Invalid value"),
    ("include = ['${NONE}.toml']",
     ("gateway.toml:1: include[0]: "
      "${NONE} is set neither in the environment nor in the .env file")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), UNUSABLE, ids=[row[1] for row in UNUSABLE])
def test_what_cannot_be_included(folder: ConfigFolder, text: str, expected: str) -> None:
    folder.write("bad.toml", "\na =")
    assert folder.errors(text + f"\n{PIPELINE}") == [expected]


def test_a_link_to_itself_is_told(folder: ConfigFolder) -> None:
    (folder.path / "round.toml").symlink_to("round.toml")
    assert folder.errors(f"include = ['round.toml']\n{PIPELINE}") == [
        "gateway.toml:1: include[0]: 'round.toml' cannot be read: Too many levels of symbolic links"
    ]


def test_all_files_that_cannot_be_read_are_told(folder: ConfigFolder) -> None:
    folder.write("bad.toml", "a =")
    assert folder.errors('include = ["bad.toml", "none.toml"]') == [
        "bad.toml:1: not TOML: Invalid value",
        "gateway.toml:1: include[1]: file 'none.toml' does not exist",
    ]
