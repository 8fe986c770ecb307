"""``${NAME}`` and ``{ file = "..." }``, and that what they stand for is never shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from gatewayd.config.marked import HIDDEN, hide_marked

if TYPE_CHECKING:
    from tests.support.configuration import ConfigFolder

PIPELINE = 'pipeline.filters = ["limit", "login", "end"]\n'
ENVIRON = {"A": "alpha", "B": "beta", "DOLLAR": "${A}", "EMPTY": "", "PORT": "9000"}


def secret_of(folder: ConfigFolder, value: str, **arguments: Any) -> Any:
    text = f"{PIPELINE}filters.login.secret = {value}"
    loaded = folder.load(text, **{"environ": ENVIRON, **arguments})
    return loaded.config.filters["login"]["secret"]


VALUES = [
    ('"${A}"', "alpha"),
    ('"x${A}y${B}z"', "xalphaybetaz"),
    ('"$${A}"', "${A}"),
    ('"$${A} ${A}"', "${A} alpha"),
    ('"$A $ $$"', "$A $ $$"),
    ('"${DOLLAR}"', "${A}"),
    ('"${EMPTY}"', ""),
    ('"""\n${A}\n"""', "alpha\n"),
    ('{ file = "token" }', "s3cret"),
    ('{ file = "lines" }', "one\ntwo\n"),
    ('{ file = "windows" }', "s3cret"),
    ('{ file = "${A}/token" }', "in alpha"),
    ('{ file = "with-dollar" }', "${A}"),
]


@pytest.mark.parametrize(("written", "expected"), VALUES, ids=[row[0] for row in VALUES])
def test_values(folder: ConfigFolder, written: str, expected: str) -> None:
    folder.write("token", "s3cret\n")
    folder.write("lines", "one\ntwo\n\n")
    (folder.path / "windows").write_bytes(b"s3cret\r\n")
    folder.write("alpha/token", "in alpha")
    folder.write("with-dollar", "${A}")
    assert secret_of(folder, written) == expected


def test_a_reference_may_stand_for_a_number(folder: ConfigFolder) -> None:
    loaded = folder.load(f'{PIPELINE}server.port = "${{PORT}}"', environ=ENVIRON)
    assert loaded.config.server.port == 9000


def test_the_process_environment_wins_over_the_file(folder: ConfigFolder) -> None:
    folder.write(".env", "A=from file\nC=only there")
    assert secret_of(folder, '"${A}, ${C}"') == "alpha, only there"


def test_a_file_is_relative_to_the_file_that_names_it(folder: ConfigFolder) -> None:
    folder.write("token", "wrong")
    folder.write("d/token", "right")
    folder.write("d/more.toml", 'filters.login.secret = { file = "token" }')
    loaded = folder.load(f'include = ["d/more.toml"]\n{PIPELINE}')
    assert loaded.config.filters["login"]["secret"] == "right"


def test_references_in_yaml(folder: ConfigFolder) -> None:
    folder.write("token", "s3cret")
    folder.write("more.yaml", "filters:\n  login:\n    secret: {file: token}\n")
    loaded = folder.load(f'include = ["more.yaml"]\n{PIPELINE}')
    assert loaded.config.filters["login"]["secret"] == "s3cret"


def test_a_table_of_the_schema_is_no_reference(folder: ConfigFolder) -> None:
    folder.write("token", "s3cret")
    route = '[[routes]]\nname = "a"\nredirect.to = "/"\nfilters.login.file = "token"\n'
    config = folder.load(f'{PIPELINE}[filters.login]\nfile = "token"\n{route}').config
    assert config.filters == config.routes[0].filters == {"login": {"file": "token"}}


FAILURES = [
    ('"${AA}"',
     ("${AA} is set neither in the environment nor in the .env file (did you mean ${A}?)")),
    ('"x ${NOTHING_LIKE_IT}"',
     "${NOTHING_LIKE_IT} is set neither in the environment nor in the .env file"),
    ('"${}"', "expected ${NAME}, a name of letters, digits and _ (write $${ for a plain ${)"),
    ('"${A-b}"', "expected ${NAME}, a name of letters, digits and _ (write $${ for a plain ${)"),
    ('"${A"', "expected ${NAME}, a name of letters, digits and _ (write $${ for a plain ${)"),
    ('{ file = "none" }', "file 'none' cannot be read: No such file or directory"),
    ('{ file = "." }', "file '.' cannot be read: Is a directory"),
    ('{ file = "binary" }', "file 'binary' is not UTF-8"),
    ('{ file = "pipe" }', "file 'pipe' is no regular file"),
    ('{ file = "large" }', "file 'large' is larger than 65536 bytes"),
    ('{ file = "${NONE}" }', "${NONE} is set neither in the environment nor in the .env file"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), FAILURES, ids=[row[0] for row in FAILURES])
def test_what_cannot_be_resolved(folder: ConfigFolder, written: str, expected: str) -> None:
    (folder.path / "binary").write_bytes(b"\xff")
    os.mkfifo(folder.path / "pipe")
    folder.write("large", "x" * 65537)
    errors = folder.errors(f"{PIPELINE}\nfilters.login.secret = {written}", environ=ENVIRON)
    assert errors == [f"gateway.toml:3: filters.login.secret: {expected}"]


def test_what_could_not_be_resolved_is_not_judged(folder: ConfigFolder) -> None:
    errors = folder.errors(f'{PIPELINE}server.port = "${{NONE}}"')
    assert [error for error in errors if "integer" in error] == []


def test_a_secret_is_in_no_error(folder: ConfigFolder) -> None:
    text = f'{PIPELINE}server.trusted_proxies = ["${{S}}"]\nserver.port = "${{S}}"'
    errors = folder.errors(text, environ={"S": "hunter2"})
    assert errors == [
        (
            "gateway.toml:2: server.trusted_proxies[0]: "
            "invalid value (a secret, so neither it nor the reason is shown)"
        ),
        "gateway.toml:3: server.port: expected an integer",
    ]


def test_a_shorthand_with_a_secret_does_not_show_it(folder: ConfigFolder) -> None:
    folder.write("routes.toml", '[[routes]]\nname = "a"\nredirect.to = "/"\nrate_limit = "${S}"\n')
    errors = folder.errors(f'include = ["routes.toml"]\n{PIPELINE}', environ={"S": "hunter2"})
    assert errors == ["routes.toml:4: routes[0].rate_limit: filter 'limit' cannot use this value"]


def test_redacted_hides_secrets_and_nothing_else(folder: ConfigFolder) -> None:
    text = f'{PIPELINE}filters.login.secret = "${{A}}"\nfilters.limit.key = "ip"\nserver.port = 1'
    shown = folder.load(text, environ={**ENVIRON, "GATEWAYD_SERVER__HOST": "1.2.3.4"}).redacted()
    assert shown["filters"] == {"login": {"secret": HIDDEN}, "limit": {"key": "ip"}}
    assert (shown["server"]["host"], shown["server"]["port"]) == (HIDDEN, 1)


def test_redacted_hides_what_a_shorthand_made_of_a_secret(folder: ConfigFolder) -> None:
    route = '[[routes]]\nname = "a"\nredirect.to = "/"\nauth_required = "${A}"'
    shown = folder.load(PIPELINE + route, environ={"A": "true"}).redacted()
    assert shown["routes"][0]["filters"] == {"login": {"required": HIDDEN}}


def test_redact_hides_within_a_layer(folder: ConfigFolder) -> None:
    loaded = folder.load(f'{PIPELINE}filters.login.secret = "${{A}}"', environ=ENVIRON)
    layer = loaded.config.filters["login"]
    assert loaded.redact(layer, ("filters", "login")) == {"secret": HIDDEN}


class Inner(BaseModel):
    pin: SecretStr | None = None
    note: str = ""


class Marked(BaseModel):
    plain: str = ""
    secret: SecretStr | None = None
    quiet: str | None = Field(None, repr=False)
    fields: dict[str, str] = Field({}, repr=False)
    choice: str | dict[str, Any] = Field("", repr=False)
    inner: Inner | None = Field(None, repr=False)
    table: dict[str, Inner] = {}
    several: list[Inner] = []


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("plain", "a", "a"),
        ("unknown", "a", "a"),
        ("secret", "a", HIDDEN),
        ("quiet", "a", HIDDEN),
        ("fields", {"Authorization": "a"}, {"Authorization": HIDDEN}),
        ("choice", "p2c", "p2c"),
        ("choice", {"name": "sticky", "secret": "a"}, {"name": "sticky", "secret": HIDDEN}),
        ("inner", {"pin": "a", "note": "b"}, {"pin": HIDDEN, "note": "b"}),
        ("table", {"x": {"pin": "a", "note": "b"}}, {"x": {"pin": HIDDEN, "note": "b"}}),
        ("several", [{"pin": "a"}, {"note": "b"}], [{"pin": HIDDEN}, {"note": "b"}]),
    ],
)
def test_what_a_model_marks_as_secret_is_hidden(key: str, value: Any, shown: Any) -> None:
    assert hide_marked(Marked, key, value) == shown
