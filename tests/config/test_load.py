"""Loading: what comes out, and what is said of what cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewayd.config.load import issues_from_validation_error, load, locate
from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.layers import layers_of, merge
from tests.support.configuration import Login, fake_plugins

if TYPE_CHECKING:
    from tests.support.configuration import ConfigFolder

PIPELINE = 'pipeline.filters = ["limit", "login", "end"]\n'

GOOD = """\
pipeline.filters = ["limit", "login", "end"]
[server]
port = 9000
[filters.limit]
rate = 5
[services.shop]
instances = ["http://127.0.0.1:1"]
[[routes]]
name = "shop"
path = "/shop"
service = "shop"
"""


def test_an_empty_file_is_all_defaults(folder: ConfigFolder) -> None:
    # The default pipeline names filters that the tests' plugins lack.
    loaded = folder.load('pipeline.filters = ["end"]')
    assert (loaded.config.server.port, loaded.config.routes) == (8001, [])


def test_values_of_the_file(folder: ConfigFolder) -> None:
    config = folder.load(GOOD).config
    assert (config.server.port, config.filters) == (9000, {"limit": {"rate": 5}})
    assert config.services["shop"].model_extra == {"instances": ["http://127.0.0.1:1"]}


def test_knows_where_a_key_stands(folder: ConfigFolder) -> None:
    loaded = folder.load(GOOD)
    assert loaded.where(("routes", 0, "path")) == ("gateway.toml", 10)


def test_a_key_that_is_not_there_stands_where_its_table_does(folder: ConfigFolder) -> None:
    assert folder.load(GOOD).where(("routes", 0, "timeout")) == ("gateway.toml", 8)


def test_a_default_stands_nowhere(folder: ConfigFolder) -> None:
    assert folder.load(GOOD).where(("routing", "backslashes")) == ("", 0)


def test_names_the_files_that_were_read(folder: ConfigFolder) -> None:
    folder.write(".env", "A=1")
    folder.write("token", "x")
    folder.write("more.toml", 'filters.login.secret = { file = "token" }')
    loaded = folder.load(f'include = ["more.toml"]\n{PIPELINE}')
    assert [str(file) for file in loaded.files] == ["gateway.toml", "more.toml", "token", ".env"]


def test_digest_is_the_same_for_the_same_settings(folder: ConfigFolder) -> None:
    reordered = GOOD.replace("rate = 5", "rate    = 5 # five") + "priority = 0 # the default\n"
    assert folder.load(GOOD).digest == folder.load(reordered).digest


def test_digest_differs_when_a_secret_does(folder: ConfigFolder) -> None:
    text = f'{PIPELINE}filters.login.secret = "${{S}}"'
    one, other = (folder.load(text, environ={"S": secret}) for secret in ("a", "b"))
    assert one.digest != other.digest


def test_repr_shows_no_settings(folder: ConfigFolder) -> None:
    loaded = folder.load(f'{PIPELINE}filters.login.secret = "hunter2"')
    assert repr(loaded) == f"<configuration gateway.toml, {loaded.digest[:12]}>"


# What is wrong, and what is said of it. Each stands alone in its file.
ERRORS = [
    ("[server]\nprot = 1", "gateway.toml:2: server.prot: unknown key (did you mean 'port'?)"),
    ("[sever]\nport = 1", "gateway.toml:1: sever: unknown key (did you mean 'server'?)"),
    ("[server]\nzzz = 1", "gateway.toml:2: server.zzz: unknown key"),
    ("[server]\n\nport = 'a'", "gateway.toml:3: server.port: expected an integer"),
    ("[server]\nport = 70000",
     "gateway.toml:2: server.port: expected 65535 or less"),
    ("[server]\nheader_timeout = nan",
     "gateway.toml:2: server.header_timeout: expected a finite number"),
    ("server.port = true", "gateway.toml:1: server.port: expected an integer"),
    ("server.header_timeout = true", "gateway.toml:1: server.header_timeout: expected a number"),
    ("server = 1", "gateway.toml:1: server: expected a table"),
    ("routes = 1", "gateway.toml:1: routes: expected an array"),
    ("routes = [\n1]", "gateway.toml:2: routes[0]: expected a table"),
    ("services.s = 1", "gateway.toml:1: services.s: expected a table"),
    ("services.s.discovery = 1", "gateway.toml:1: services.s.discovery: expected a string"),
    ("services = [1]", "gateway.toml:1: services: expected a table"),
    ("filters = 1", "gateway.toml:1: filters: expected a table"),
    ("pipeline.filters = 'end'", "gateway.toml:1: pipeline.filters: expected an array"),
    ("routing.dot_segments = 'x'",
     "gateway.toml:1: routing.dot_segments: expected 'resolve' or 'reject'"),
    ("server.trusted_proxies = [\n'10.0.0.0/8',\n'x']",
     ("gateway.toml:3: server.trusted_proxies[1]: "
     "'x' does not appear to be an IPv4 or IPv6 network")),
    ("[server.tls]\n[[server.tls.certificates]]\ncertificate = 'a'\nkye = 'b'",
     "gateway.toml:2: server.tls.certificates[0].key: required key is missing",
     "gateway.toml:4: server.tls.certificates[0].kye: unknown key (did you mean 'key'?)"),
    ("[[routes]]\npath = '/'\nredirect.to = '/'",
     "gateway.toml:1: routes[0].name: required key is missing"),
    ("[[routes]]\nname = 'a'",
     "gateway.toml:1: routes[0]: a route has either a service or a redirect"),
    ("[[routes]]\nname = 'a'\nservice = 1",
     "gateway.toml:3: routes[0].service: expected a string or an array"),
    ("services.s.instances = ['x']\n[[routes]]\nname = 'a'\nservice = [{ name = 's', wight = 1 }]",
     "gateway.toml:4: routes[0].service[0].wight: unknown key (did you mean 'weight'?)"),
    ("[[routes]]\nname = 'a'\nredirect.to = '/'\nfilters.end = 2",
     "gateway.toml:4: routes[0].filters.end: expected a table or true or false"),
    ("[services.'a b']\ninstances = ['x']",
     ("gateway.toml:1: services.a b: "
     "expected something that matches ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [(row[0], list(row[1:])) for row in ERRORS], ids=[r[1] for r in ERRORS]
)
def test_errors_say_file_line_key_and_expectation(
    folder: ConfigFolder, text: str, expected: list[str]
) -> None:
    pipeline = "" if text.startswith("pipeline") else '\n[pipeline]\nfilters = ["end"]'
    assert folder.errors(text + pipeline) == expected


def test_tells_all_errors_at_once_in_order(folder: ConfigFolder) -> None:
    folder.write("more.toml", "[services.a]\ninstances = []")
    text = """\
include = ["more.toml"]
pipeline.filters = ["end"]
server.prot = 1
routing.dot_segments = "${MISSING}"
[[routes]]
name = "a"
service = "b"
weight = 1
"""
    assert folder.errors(text, environ={"GATEWAYD_SERVER__PORT": "-1", "GATEWAYD_X__Y": "1"}) == [
        "environment variable GATEWAYD_SERVER__PORT: server.port: expected 0 or more",
        (
            "environment variable GATEWAYD_X__Y: is no setting "
            "(expected GATEWAYD_SECTION__KEY with a section of "
            "admin, audit, config, filters, logging, pipeline, redis, routing, server, store)"
        ),
        "gateway.toml:3: server.prot: unknown key (did you mean 'port'?)",
        (
            "gateway.toml:4: routing.dot_segments: "
            "${MISSING} is set neither in the environment nor in the .env file"
        ),
        "gateway.toml:7: routes[0].service: service 'b' is not defined",
        "gateway.toml:8: routes[0].weight: unknown key",
        "more.toml:2: services.a.instances: expected 1 or more of them",
    ]


SYNTAX = [
    ("a = ", "gateway.toml:1: not TOML: Invalid value"),
    ("a = 1\nb = 2\na = 3", "gateway.toml:3: not TOML: Cannot overwrite a value"),
    ("a = [\n1,", "gateway.toml:2: not TOML: Invalid value"),
    ("a = " + "[" * 70 + "]" * 70, "gateway.toml: nested too deep"),
    ("a = " + "[" * 9000 + "]" * 9000, "gateway.toml: nested too deep"),
]


@pytest.mark.parametrize(("text", "expected"), SYNTAX, ids=[row[1] for row in SYNTAX])
def test_what_is_not_toml(folder: ConfigFolder, text: str, expected: str) -> None:
    assert folder.errors(text) == [expected]


def test_a_file_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"^none\.toml: cannot be read: No such file"):
        load("none.toml", environ={}, plugins=fake_plugins())


def test_a_file_that_is_no_text(folder: ConfigFolder) -> None:
    (folder.path / "gateway.toml").write_bytes(b"a = 1\nb = '\xff'")
    with pytest.raises(ConfigError, match=r"^gateway\.toml:2: not UTF-8$"):
        load("gateway.toml", environ={}, plugins=fake_plugins())


def test_a_file_that_is_too_large(folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd.config.documents.MAX_FILE_BYTES", 100)
    assert folder.errors("#" * 101) == ["gateway.toml: larger than 100 bytes"]


def test_a_byte_order_mark_is_passed_over(folder: ConfigFolder) -> None:
    assert folder.load('\ufeffpipeline.filters = ["end"]').config.pipeline.filters == ["end"]


# Explaining what a filter says of its settings, once they are merged.


def explain(folder: ConfigFolder, text: str, route: int) -> list[str]:
    loaded = folder.load(text)
    settings = merge("login", layers_of(loaded.config, "login", route=route, service="s"))
    assert settings is not None
    try:
        Login.Config.model_validate(settings.values)
    except ValueError as error:
        return [str(issue) for issue in issues_from_validation_error(error, settings, loaded)]
    raise AssertionError("the settings are valid")


LAYERED = f"""\
{PIPELINE}[filters.login]
secret = 1
[services.s]
instances = ["x"]
filters.login.requird = true
[[routes]]
name = "a"
service = "s"
"""


def test_a_setting_is_looked_for_in_the_layer_that_it_came_from(folder: ConfigFolder) -> None:
    assert explain(folder, LAYERED + "filters.login.required = 'x'", 0) == [
        "gateway.toml:10: routes[0].filters.login.required: expected true or false",
        "gateway.toml:3: filters.login.secret: expected a string",
        "gateway.toml:6: services.s.filters.login.requird: unknown key (did you mean 'required'?)",
    ]


def test_a_setting_that_a_shorthand_made_stands_where_the_shorthand_does(
    folder: ConfigFolder,
) -> None:
    text = LAYERED.replace("secret = 1", "").replace("filters.login.requird = true", "")
    assert explain(folder, text + "auth_required = 'x'", 0) == [
        "gateway.toml:10: routes[0].filters.login.required: expected true or false"
    ]


def test_a_secret_is_not_shown_even_if_the_filter_quotes_it(folder: ConfigFolder) -> None:
    folder.write("token", "bad secret")
    text = LAYERED.replace("secret = 1", 'secret = { file = "token" }').replace(
        "requird", "required"
    )
    assert explain(folder, text, 0) == [
        (
            "gateway.toml:3: filters.login.secret: "
            "invalid value (a secret, so neither it nor the reason is shown)"
        )
    ]


def test_locating_issues_that_have_a_key_only(folder: ConfigFolder) -> None:
    issues = [
        ConfigIssue("one", key="routes[0].filters.login", hint="do it"),
        ConfigIssue("two", key="server.tls"),
        ConfigIssue("three", key="services.shop.instances", file="elsewhere", line=3),
    ]
    assert [str(issue) for issue in locate(issues, folder.load(GOOD))] == [
        "gateway.toml:8: routes[0].filters.login: one (do it)",
        "gateway.toml:2: server.tls: two",
        "elsewhere:3: services.shop.instances: three",
    ]
