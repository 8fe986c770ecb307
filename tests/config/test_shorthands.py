"""Shorthands of routes: expanded, or refused, but never passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.configuration import ConfigFolder

BEGIN = """\
pipeline.filters = [{0}]
[[routes]]
name = "a"
redirect.to = "/"
"""
BOTH = BEGIN.format('"limit", "login", "end"')


def filters_of(folder: ConfigFolder, text: str) -> object:
    return folder.load(BOTH + text).config.routes[0].filters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate_limit = 5", {"limit": {"rate": 5}}),
        ("rate_limit = 5\nfilters.limit.key = 'x'", {"limit": {"rate": 5, "key": "x"}}),
        ("filters.limit = true\nrate_limit = 5", {"limit": {"rate": 5}}),
        ("auth_required = false", {"login": {"required": False}}),
    ],
)
def test_expansion(folder: ConfigFolder, text: str, expected: object) -> None:
    assert filters_of(folder, text) == expected


def test_a_setting_stands_where_its_shorthand_does(folder: ConfigFolder) -> None:
    loaded = folder.load(f"{BOTH}rate_limit = 5\n")
    assert loaded.where(("routes", 0, "filters", "limit", "rate")) == ("gateway.toml", 5)


def test_no_filter_is_imported_without_need(folder: ConfigFolder) -> None:
    # `broken` cannot be imported; without a shorthand nobody needs to know.
    assert folder.load(BEGIN.format('"broken", "end"')).config.routes[0].name == "a"


def test_the_one_in_the_pipeline_is_meant(folder: ConfigFolder) -> None:
    text = BEGIN.format('"other_login", "end"') + "auth_required = true"
    assert folder.load(text).config.routes[0].filters == {"other_login": {"required": True}}


REFUSED = [
    ('"end"', "auth_required = true",
     ("routes[0].auth_required: is a shorthand of filter 'login', which is not in pipeline.filters "
      "(add 'login' there, or take this key out)")),
    ('"end"', "auth_requird = true",
     "routes[0].auth_requird: unknown key (did you mean 'auth_required'?)"),
    ('"end"', "methds = []", "routes[0].methds: unknown key (did you mean 'methods'?)"),
    ('"login", "other_login", "end"', "auth_required = true",
     ("routes[0].auth_required: is a shorthand of two filters, 'login' and 'other_login'; "
      "use filters.NAME")),
    ('"limit", "end"', "rate_limit = -1",
     ("routes[0].rate_limit: filter 'limit' cannot use this value: "
      "expected a rate of 0 or more, not -1")),
    ('"limit", "end"', "rate_limit = [1]",
     ("routes[0].rate_limit: filter 'limit' cannot use this value: "
      "'<' not supported between instances of 'list' and 'int'")),
    ('"limit", "end"', "rate_limit = 1\nfilters.limit = false",
     "routes[0].rate_limit: sets what routes[0].filters.limit = false removes"),
    ('"limit", "end"', "rate_limit = 1\nfilters.limit.rate = 2",
     "routes[0].rate_limit: sets routes[0].filters.limit.rate, as does gateway.toml:6"),
]  # fmt: skip


@pytest.mark.parametrize(("pipeline", "text", "expected"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_refused(folder: ConfigFolder, pipeline: str, text: str, expected: str) -> None:
    assert folder.errors(BEGIN.format(pipeline) + text) == [f"gateway.toml:5: {expected}"]


def test_a_filter_that_cannot_be_imported_is_told(folder: ConfigFolder) -> None:
    errors = folder.errors(BEGIN.format('\n"broken", "end"') + "x = 1")
    assert errors[0].startswith("gateway.toml:2: pipeline.filters[0]: plugin 'broken' (")
