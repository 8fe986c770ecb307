from __future__ import annotations

from typing import Any

import pytest

from gatewayd.config.schema import GatewayConfig
from gatewayd.layers import Layer, layers_of, merge

GATEWAY, SERVICE, ROUTE = ("filters", "f"), ("services", "s", "filters", "f"), ("routes", 0)


def layer(path: tuple[str | int, ...], value: Any) -> Layer:
    return Layer(path, value)


def test_without_layers_there_are_the_defaults() -> None:
    settings = merge("f", [])
    assert settings is not None
    assert (settings.values, settings.origins, settings.path) == ({}, {}, GATEWAY)


def test_the_more_specific_layer_wins_key_by_key() -> None:
    layers = [
        layer(GATEWAY, {"a": 1, "b": 1, "c": 1}),
        layer(SERVICE, {"b": 2, "c": 2}),
        layer(ROUTE, {"c": 3}),
    ]
    settings = merge("f", layers)
    assert settings is not None
    assert settings.values == {"a": 1, "b": 2, "c": 3}
    assert settings.origins == {"a": GATEWAY, "b": SERVICE, "c": ROUTE}
    assert settings.path == ROUTE


def test_a_table_is_replaced_as_a_whole() -> None:
    settings = merge("f", [layer(GATEWAY, {"t": {"a": 1}}), layer(ROUTE, {"t": {"b": 2}})])
    assert settings is not None
    assert settings.values == {"t": {"b": 2}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([False], None),
        ([{"a": 1}, False], None),
        ([False, True], {}),
        ([{"a": 1}, False, True], {"a": 1}),
        ([{"a": 1}, False, {"b": 2}], {"a": 1, "b": 2}),
        ([True], {}),
        ([{"a": 1}, True], {"a": 1}),
    ],
)
def test_filters_are_removed_and_brought_back(
    values: list[Any], expected: dict[str, Any] | None
) -> None:
    places = (GATEWAY, SERVICE, ROUTE)
    settings = merge("f", [layer(places[i], value) for i, value in enumerate(values)])
    assert (None if settings is None else settings.values) == expected


def test_merging_changes_no_layer() -> None:
    gateway, route = {"a": 1}, {"a": 2}
    merge("f", [layer(GATEWAY, gateway), layer(ROUTE, route)])
    assert (gateway, route) == ({"a": 1}, {"a": 2})


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({}, {"a": None}, False),
    ],
)
def test_identity_tells_settings_apart(one: Any, other: Any, equal: bool) -> None:
    settings = [merge("f", [layer(path, v)]) for path, v in ((GATEWAY, one), (ROUTE, other))]
    assert settings[0] is not None
    assert settings[1] is not None
    assert (settings[0].identity == settings[1].identity) == equal


CONFIG = GatewayConfig.model_validate(
    {
        "filters": {"f": {"a": 1}},
        "services": {"s": {"filters": {"f": {"a": 2}}}, "t": {}},
        "routes": [
            {"name": "one", "service": "s", "filters": {"f": False}},
            {"name": "two", "service": "s"},
        ],
    }
)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({}, [(GATEWAY, {"a": 1})]),
        (
            {"route": 0, "service": "s"},
            [(GATEWAY, {"a": 1}), (SERVICE, {"a": 2}), (("routes", 0, "filters", "f"), False)],
        ),
        ({"route": 1, "service": "s"}, [(GATEWAY, {"a": 1}), (SERVICE, {"a": 2})]),
        ({"route": 1, "service": "t"}, [(GATEWAY, {"a": 1})]),
    ],
    ids=str,
)
def test_layers_are_found_from_the_general_to_the_specific(
    place: dict[str, Any], expected: list[Any]
) -> None:
    assert [(one.path, one.value) for one in layers_of(CONFIG, "f", **place)] == expected
    assert layers_of(CONFIG, "other", **place) == []
