"""The YAML form: its values, lines and names, and what is refused of YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gatewayd.config.yaml_form import read_yaml
from gatewayd.errors import ConfigError

if TYPE_CHECKING:
    from tests.support.configuration import ConfigFolder


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run everything with libyaml, and with the parser that stands in for it."""
    name: str = request.param
    monkeypatch.setattr("gatewayd.config.yaml_form._Loader", getattr(yaml, name))
    return name


def values_of(text: str) -> dict[str, Any]:
    return read_yaml(text, "x.yaml", max_depth=20)[0]


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        values_of(text)
    return str(caught.value)


SCALARS = [
    ("no", "no"), ("off", "off"), ("y", "y"), ("yes", "yes"), ("on", "on"),
    ("true", True), ("True", True), ("false", False), ("FALSE", False), ("tRue", "tRue"),
    ("12:30:00", "12:30:00"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"),
    ("0", 0), ("-7", -7), ("+7", 7), ("010", 10), ("0o17", 15), ("0x1F", 31), ("0b1", "0b1"),
    ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.", 1.0), (".inf", ".inf"), (".nan", ".nan"),
    ("9" * 18, 10**18 - 1), ("9" * 19, "9" * 19),
    ("null", None), ("~", None), ("", None), ("Null", None), ("nothing", "nothing"),
    ("'true'", "true"), ('"1"', "1"), ("'~'", "~"), ("=", "="),
]  # fmt: skip


@pytest.mark.parametrize(("written", "value"), SCALARS)
def test_scalars_follow_yaml_1_2(written: str, value: object) -> None:
    assert values_of(f"key: {written}") == {"key": value}


def test_keys_are_strings_as_they_stand() -> None:
    assert values_of("on: 1\n404: 2\ntrue: 3\n12:30: 4") == {
        "on": 1, "404": 2, "true": 3, "12:30": 4,
    }  # fmt: skip


def test_collections() -> None:
    text = "a:\n  - 1\n  - {b: [x, y]}\nc: {}\nd: []"
    assert values_of(text) == {"a": [1, {"b": ["x", "y"]}], "c": {}, "d": []}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null"])
def test_an_empty_file_has_no_values(text: str) -> None:
    assert values_of(text) == {}


def test_lines() -> None:
    text = "a:\n  - x\n\n  - b: |\n      c: 1\n    d: 2\n"
    assert read_yaml(text, "x.yaml", max_depth=20)[1] == {
        ("a",): 1, ("a", 0): 2, ("a", 1): 4, ("a", 1, "b"): 4, ("a", 1, "d"): 6,
    }  # fmt: skip


def test_an_alias_is_a_copy() -> None:
    values = values_of("a: &x {b: [1]}\nc: *x")
    values["a"]["b"].append(2)
    assert values["c"] == {"b": [1]}


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)

REFUSED = [
    ("a: 1\nb: 2\na: 3", "x.yaml:3: key 'a' stands twice, first on line 1"),
    ("a: {b: 1,\n b: 2}", "x.yaml:2: key 'b' stands twice, first on line 1"),
    ("a: &x {b: 1}\nc:\n  <<: *x", "x.yaml:3: merge keys (<<) are not supported"),
    ("a: !!python/object/apply:os.system [ls]",
     ("x.yaml:1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' "
      "is not used in configuration files")),
    ("a: !mine 1", "x.yaml:1: the tag '!mine' is not used in configuration files"),
    ("!!str a: 1", "x.yaml:1: a key must be a plain word or a string"),
    ("[a]: 1", "x.yaml:1: a key must be a plain word or a string"),
    ("a: 1\n---\nb: 2", "x.yaml:2: a second document; one file holds one"),
    ("- a\n- b", "x.yaml:1: expected a table of keys at the top"),
    ("a", "x.yaml:1: expected a table of keys at the top"),
    ("a: *x", "x.yaml:1: unknown alias 'x', or one within what it names"),
    ("a: &x [*x]", "x.yaml:1: unknown alias 'x', or one within what it names"),
    (LAUGHS, "x.yaml:5: aliases expand to more than 10000 values"),
    ("a: " + "[" * 21 + "]" * 21, "x.yaml:1: nested too deep"),
    ("a: 1\nb: \x01", "x.yaml:2: not YAML: "),
    ("a: 1\n\tb: 1", "x.yaml:2: not YAML: found "),
    ("a: b: c", "x.yaml:1: not YAML: mapping values are not allowed "),
    ("a: [1", "x.yaml:"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED, ids=[row[1] for row in REFUSED])
def test_what_is_refused(text: str, expected: str) -> None:
    assert error_of(text).startswith(expected)


# In a configuration.

FIRST = 'include = ["routes.yaml"]\npipeline.filters = ["limit", "login", "end"]\n'


def test_the_form_of_older_gateways(folder: ConfigFolder) -> None:
    folder.write("routes.yaml", """\
routes:
  - path: /projects
    service: project-service
    methods: [GET, POST]
    auth_required: true
    rate_limit: 100
    timeout: 30
services:
  project-service:
    instances: [http://127.0.0.1:9101]
""")  # fmt: skip
    [route] = folder.load(FIRST).config.routes
    assert (route.name, route.timeout) == ("projects-get-post", 30)
    assert route.filters == {"login": {"required": True}, "limit": {"rate": 100}}


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        (["path: /projects"], ["projects"]),
        (["path: /projects, methods: [GET, POST]"], ["projects-get-post"]),
        (["path: /"], ["root"]),
        (["methods: [GET]"], ["root-get"]),
        (["path: '/a/{b}/c.d'"], ["a-b-c.d"]),
        (["path: /a", "path: /a", "path: /a"], ["a", "a-2", "a-3"]),
        (["path: /a", "path: /b, name: a"], ["a-2", "a"]),
        (["path: /a, name: mine"], ["mine"]),
        (["path: /é"], ["route"]),
        ([f"path: /{'x' * 200}"], ["x" * 120]),
    ],
)
def test_names_of_routes(folder: ConfigFolder, routes: list[str], expected: list[str]) -> None:
    text = "\n".join(f"  - {{{route}, redirect: {{to: /x}}}}" for route in routes)
    folder.write("routes.yaml", f"routes:\n{text}\n")
    assert [route.name for route in folder.load(FIRST).config.routes] == expected


def test_a_yaml_file_can_be_the_first(folder: ConfigFolder) -> None:
    loaded = folder.load("pipeline: {filters: [end]}\nserver:\n  port: 5", name="gateway.yml")
    assert loaded.where(("server", "port")) == ("gateway.yml", 3)


def test_errors_have_the_line_of_the_key(folder: ConfigFolder) -> None:
    folder.write("routes.yaml", "routes:\n  - path: /a\n    servce: x\n    redirect: {to: /}\n")
    assert folder.errors(FIRST) == [
        "routes.yaml:3: routes[0].servce: unknown key (did you mean 'service'?)"
    ]
