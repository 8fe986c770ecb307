"""What must fit together: pipeline, filters, services, routes and plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.configuration import ConfigFolder

PIPELINE = 'pipeline.filters = ["limit", "end"]\n'
SERVICE = "services.shop.instances = ['x']\n"
ROUTE = '[[routes]]\nname = "a"\nredirect.to = "/"\n'
SHARED = "[[routes]]\nname = 'a'\n"
FILTERS = "broken, end, limit, login, other_login"

ERRORS = [
    ("pipeline.filters = ['end', 'lmit']",
     "1: pipeline.filters[1]: filter 'lmit' is not installed (did you mean 'limit'?)"),
    ("pipeline.filters = [\n'zzz']",
     f"2: pipeline.filters[0]: filter 'zzz' is not installed (installed: {FILTERS})"),
    ("pipeline.filters = ['end',\n'limit',\n'end']",
     "3: pipeline.filters[2]: filter 'end' stands twice in the pipeline"),
    (f"{PIPELINE}[filters.login]",
     ("2: filters.login: filter 'login' is not in pipeline.filters "
      "(add 'login' there, or take this out)")),
    (f"{PIPELINE}[filters.limt]",
     "2: filters.limt: filter 'limt' is not installed (did you mean 'limit'?)"),
    (f"{PIPELINE}{SERVICE}services.shop.filters.login.required = true",
     ("3: services.shop.filters.login: filter 'login' is not in pipeline.filters "
      "(add 'login' there, or take this out)")),
    (f"{PIPELINE}{ROUTE}filters.login = false",
     ("5: routes[0].filters.login: filter 'login' is not in pipeline.filters "
      "(add 'login' there, or take this out)")),
    (f"{PIPELINE}services.shop.discovery = 'dsn'",
     "2: services.shop.discovery: discovery 'dsn' is not installed (did you mean 'dns'?)"),
    (f"{PIPELINE}services.shop.discovery = 'consul'",
     ("2: services.shop.discovery: discovery 'consul' is not installed "
      "(installed: broken, dns, static)")),
    (f"{PIPELINE}[services.shop]\nmax_connections = 1",
     "2: services.shop.instances: required key is missing"),
    (f"{PIPELINE}[services.shop]\ninstances = ['x']\nmax_conections = 1",
     "4: services.shop.max_conections: unknown key (did you mean 'max_connections'?)"),
    (f"{PIPELINE}[services.shop]\ndiscovery = 'dns'\nname = 'x'\nprot = 1",
     "5: services.shop.prot: unknown key (did you mean 'port'?)"),
    (f"{PIPELINE}[services.shop]\ndiscovery = 'dns'\nname = 'x'\nport = 0",
     "5: services.shop.port: expected 1 or more"),
    (f"{PIPELINE}[services.shop]\ndiscovery = 'dns'\nname = 'x'\ninstances = []",
     "5: services.shop.instances: unknown key"),
    (f"{PIPELINE}{SERVICE}{SHARED}service = 'shp'",
     "5: routes[0].service: service 'shp' is not defined (did you mean 'shop'?)"),
    (f"{PIPELINE}{SERVICE}{SHARED}service = [\n{{ name = 'shop' }},\n{{ name = 'x' }}]",
     "7: routes[0].service[1].name: service 'x' is not defined"),
    (f"{PIPELINE}{ROUTE}[[routes]]\nredirect.to = '/'\nname = 'a'",
     "7: routes[1].name: route 'a' is defined twice, first at gateway.toml:3"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ERRORS, ids=[row[1] for row in ERRORS])
def test_errors(folder: ConfigFolder, text: str, expected: str) -> None:
    assert folder.errors(text) == [f"gateway.toml:{expected}"]


def test_a_discovery_that_cannot_be_imported(folder: ConfigFolder) -> None:
    [error] = folder.errors(f"{PIPELINE}services.shop.discovery = 'broken'")
    assert error.startswith("gateway.toml:2: services.shop.discovery: plugin 'broken' (")


@pytest.mark.parametrize(
    "text",
    [
        f"{PIPELINE}[services.shop]\ndiscovery = 'dns'\nname = 'x'\nmax_connections = 1",
        f"{PIPELINE}{SERVICE}services.shop.filters.limit = false\n{ROUTE}filters.limit.rate = 1",
        f"{PIPELINE}{SERVICE}{SHARED}service = [{{ name = 'shop', weight = 3 }}]",
    ],
)
def test_what_fits(folder: ConfigFolder, text: str) -> None:
    assert folder.load(text).config.pipeline.filters == ["limit", "end"]
