"""The JSON Schema and the reference page: made of the models, true to the loader."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gatewayd.config.reference import built_in_plugins, json_schema, markdown
from gatewayd.config.schema import GatewayConfig
from tests.support.configuration import fake_plugins

if TYPE_CHECKING:
    from pydantic import BaseModel

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "configuration.md"
SHARED = REPOSITORY.parent / "shared" / "conf" / "bare.toml"
FILES = [
    REPOSITORY / "conf" / "gateway.toml",
    *sorted((REPOSITORY / "conf" / "examples").glob("**/*.toml")),
]


@cache
def validator(*, fake: bool) -> Draft202012Validator:
    return Draft202012Validator(json_schema(fake_plugins() if fake else built_in_plugins()))


def refused(text: str, *, fake: bool = True) -> list[str]:
    """Return the paths of what the schema refuses."""
    errors = validator(fake=fake).iter_errors(tomllib.loads(text))
    return sorted(error.json_path for error in errors)


@pytest.mark.parametrize("fake", [True, False])
def test_the_schema_is_one(fake: bool) -> None:
    Draft202012Validator.check_schema(validator(fake=fake).schema)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_our_configurations_fit(path: Path) -> None:
    assert refused(path.read_text("utf-8"), fake=False) == []


@pytest.mark.skipif(not SHARED.is_file(), reason="bare.toml is not beside this checkout")
def test_the_smallest_gateway_fits() -> None:
    assert refused(SHARED.read_text("utf-8"), fake=False) == []


ROUTE = "[[routes]]\nname = 'a'\nservice = 's'\n"

FITS = [
    "",
    "include = ['a.toml']",
    "pipeline.filters = ['limit', 'end']",
    "filters.limit = { rate = 5 }",
    f"{ROUTE}rate_limit = 5\nauth_required = true",
    f"{ROUTE}filters = {{ limit = false, login = {{ required = true }}, end = true }}",
    "[[routes]]\nname = 'a'\nservice = [{ name = 's', weight = 2 }]",
    "[services.s]\ninstances = ['http://a']",
    "[services.s]\ndiscovery = 'static'\ninstances = ['http://a']",
    "[services.s]\ndiscovery = 'dns'\nname = 'x'\nport = 5\nmax_connections = 1",
    "[services.s]\ninstances = ['http://a']\nfilters.limit = false",
    "filters.login.secret = { file = '/run/secret' }",
    "filters.login.secret = '${SECRET}'",
    "server.port = '${PORT}'",
    (
        "server.tls.minimum_version = '${VERSION}'\nserver.tls.certificates = "
        "[{ certificate = '${A}', key = '${B}' }]"
    ),
]


@pytest.mark.parametrize("text", FITS)
def test_what_fits(text: str) -> None:
    assert refused(text) == []


DOES_NOT_FIT = [
    ("sever = 1", "$"),
    ("server.prot = 1", "$.server"),
    ("server.port = 'x'", "$.server.port"),
    ("server.port = 70000", "$.server.port"),
    ("pipeline.filters = ['none']", "$.pipeline.filters[0]"),
    ("filters.none = {}", "$.filters"),
    ("filters.limit = { rte = 5 }", "$.filters.limit"),
    ("filters.limit = false", "$.filters.limit"),
    (f"{ROUTE}rate_limt = 5", "$.routes[0]"),
    (f"{ROUTE}filters.none = true", "$.routes[0].filters"),
    ("[[routes]]\nservice = 's'", "$.routes[0]"),
    ("services.s.discovery = 'none'", "$.services.s.discovery"),
    ("services.s.max_connections = 5", "$.services.s"),
    ("services.'a b'.instances = ['x']", "$.services"),
    ("[services.s]\ndiscovery = 'dns'\nname = 'x'\ninstances = ['x']", "$.services.s"),
    ("filters.login.secret = { fle = 'x' }", "$.filters.login.secret"),
]


@pytest.mark.parametrize(("text", "path"), DOES_NOT_FIT, ids=[row[0] for row in DOES_NOT_FIT])
def test_what_does_not_fit(text: str, path: str) -> None:
    assert path in refused(text)


def test_yaml_fits_where_routes_have_names() -> None:
    values = yaml.safe_load("routes: [{name: a, path: /a, service: s, timeout: 3}]")
    assert list(validator(fake=True).iter_errors(values)) == []


# The page.


def test_the_page_is_what_would_be_written() -> None:
    message = "docs/configuration.md is out of date: run `make docs`"
    assert PAGE.read_text("utf-8") == markdown(built_in_plugins()), message


def fields_of(model: type[BaseModel]) -> set[str]:
    """Return the keys of a model and of all models that it may hold."""
    schema: dict[str, Any] = model.model_json_schema()
    tables = [schema, *schema.get("$defs", {}).values()]
    return {key for table in tables for key in table.get("properties", {})}


def test_the_page_has_every_key_of_host_and_plugins() -> None:
    plugins = fake_plugins()
    models = [GatewayConfig]
    models += [plugins.filters.load(name).Config for name in plugins.filters.names]
    models += [plugins.discovery.load(name).Config for name in plugins.discovery.names]
    page = markdown(plugins)
    keys = {key for model in models for key in fields_of(model)}
    assert [key for key in sorted(keys) if f"| `{key}` |" not in page] == []


@pytest.mark.parametrize(
    "line",
    [
        "### `[filters.limit]`",
        "Has the shorthand `rate_limit`, which sets one key and checks it.",
        "Shorthands in routes: `rate_limit`.",
        "| `rate` | integer | `10` | Requests per second. |",
        '### `[services.NAME]`, `discovery = "dns"`',
        "| `port` | integer, at least 1 | `80` | Port of the instances. |",
        "#### `[services.NAME.tls]`",
        "##### `[[server.tls.certificates]]`",
        "| `service` | string or array of tables |  | Service, or several with weights (canary). |",
        "| `server` | table |  | The public listener and its limits. |",
    ],
)
def test_lines_of_the_page(line: str) -> None:
    assert line in markdown(fake_plugins()).splitlines()
