"""auth: settings that cannot be used, told by their key."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatewayd import ConfigError
from gatewayd.testing import make_gateway
from gatewayd_filters.auth import Auth, AuthConfig
from tests.support.authentication import PEPPER, plugins_with_methods


def issues(settings: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Auth(AuthConfig.model_validate(settings), make_gateway(plugins=plugins_with_methods()))
    return [str(issue) for issue in caught.value.issues]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"methods": ["tokn"]}, "methods[0]: no plugin 'tokn' in gatewayd.authentication"),
        ({"methods": ["token", "token"]}, "methods[1]: method 'token' is listed twice"),
        ({"methods": ["jwt"]}, "jwt.algorithms: required key is missing"),
        ({"methods": ["token"], "accept": ["ticket"]}, "accept[0]: method 'ticket' is not in"),
        (
            {"methods": ["token"], "plugins": {"ticket": {}}},
            "plugins.ticket: method 'ticket' is not in `methods` (add 'ticket' there",
        ),
        (
            {"methods": ["token"], "api_key": {"pepper": PEPPER}},
            "api_key: method 'api_key' is not in `methods`",
        ),
        (
            {"methods": ["token"], "plugins": {"token": {"prefx": "a"}}},
            "plugins.token.prefx: unknown key",
        ),
        (
            {"methods": ["token"], "plugins": {"token": {"prefix": 1}}},
            "plugins.token.prefix: expected a valid string",
        ),
        (
            {"methods": ["api_key"], "plugins": {"api_key": {}}},
            "plugins.api_key: the settings of 'api_key' stand in `api_key` itself",
        ),
    ],
)
def test_what_cannot_be_used_is_told_by_its_key(settings: dict[str, Any], expected: str) -> None:
    assert any(issue.startswith(expected) for issue in issues(settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"methods": []},
        {"realm": 'a"b'},
        {"realm": "a\r\nb"},
        {"api_key": {"pepper": "short"}},
        {"api_key": {"pepper": "a" * 64}},
        {"api_key": {"header": "not a name"}},
    ],
)
def test_bad_values_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AuthConfig.model_validate(settings)


def test_a_pepper_is_in_no_message_and_no_repr() -> None:
    config = AuthConfig.model_validate({"api_key": {"pepper": PEPPER}})
    assert PEPPER not in repr(config) + repr(config.api_key) + config.model_dump_json()
    with pytest.raises(ValidationError) as caught:
        AuthConfig.model_validate({"api_key": {"pepper": "secret-but-short"}})
    details = caught.value.errors(include_input=False, include_context=False)
    assert "secret-but-short" not in repr(details)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_the_shorthand_takes_true_and_false_only(value: object) -> None:
    with pytest.raises(TypeError):
        Auth.route_keys["auth_required"](value)


def test_the_shorthand_sets_required() -> None:
    assert Auth.route_keys["auth_required"](True) == {"required": True}
