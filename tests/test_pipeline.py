from __future__ import annotations

from typing import Any

import pytest

from gatewayd import (
    ConfigError,
    Filter,
)
from tests.support.pipelines import (
    Tag,
    compiled,
    issues,
    route,
    trace,
)


async def test_the_order_is_the_configuration_s_and_the_way_out_its_reverse() -> None:
    for one, two in (("tag", "other"), ("other", "tag")):
        config = {"tag": {"text": "tag"}, "other": {"text": "other"}}
        pipeline = compiled(one, two, "end", filters=config)
        assert await trace(pipeline) == [one, two, f"/{two}", f"/{one}"]


async def test_filters_after_the_match_have_the_settings_of_their_route() -> None:
    pipeline = compiled(
        "other", "match", "tag", "end",
        filters={"tag": {"text": "gateway"}, "other": {"text": "before"}},
        services={"t": {"filters": {"tag": {"text": "service"}}}},
        routes=[
            route("plain"),
            route("own", tag={"text": "route"}),
            route("of_service", "t"),
            route("of_both", "t", tag={"text": "route"}),
            route("without", tag=False),
        ],
    )  # fmt: skip
    found = {name: await trace(pipeline, f"/{name}") for name, _ in pipeline.chains}
    before = ["before", "/before"]
    assert found == {
        "plain": ["before", "gateway", "/gateway", "/before"],
        "own": ["before", "route", "/route", "/before"],
        "of_service": ["before", "service", "/service", "/before"],
        "of_both": ["before", "route", "/route", "/before"],
        "without": before,
    }


@pytest.mark.parametrize("setting", [{"text": "never"}, True, False])
def test_settings_of_a_route_for_a_filter_before_the_match_are_refused(setting: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled("other", "match", "tag", "end", routes=[route("early", other=setting)])
    (issue,) = caught.value.issues
    assert issue.key == "routes[0].filters.other"
    assert "before a route is known" in issue.message


def test_and_those_of_a_service() -> None:
    services = {"t": {"filters": {"other": {"text": "never"}}}}
    with pytest.raises(ConfigError, match=r"services\.t\.filters\.other"):
        compiled("other", "match", "tag", "end", services=services, routes=[route("early", "t")])


async def test_each_service_of_a_route_has_its_chain() -> None:
    weighted = [{"name": "s"}, {"name": "t"}]
    settings = {"t": {"filters": {"tag": {"text": "t"}}}}
    pipeline = compiled("match", "tag", "end", services=settings, routes=[route("r", weighted)])
    assert set(pipeline.chains) == {("r", "s"), ("r", "t")}
    assert await trace(pipeline, "/r?s") == ["tag", "/tag"]
    assert await trace(pipeline, "/r?t") == ["t", "/t"]


def test_equal_settings_are_one_filter_and_equal_chains_one_chain() -> None:
    pipeline = compiled(
        "match", "tag", "other", "end",
        filters={"tag": {"text": "x", "fail": False}},
        routes=[
            route("a"),
            route("b", tag={"fail": False, "text": "x"}),
            route("c", tag={"text": "y"}),
            route("d", tag=False),
        ],
    )  # fmt: skip
    tags = [one for one in pipeline.filters if isinstance(one, Tag) and one.name == "tag"]
    assert sorted(one.config.text for one in tags) == ["x", "y"]
    forward = {name: chain.forward for (name, _), chain in pipeline.chains.items()}
    assert forward["a"] is forward["b"]
    assert len({id(one) for one in forward.values()}) == 3


def test_a_chain_tells_the_layer_of_each_setting() -> None:
    config = {"tag": {"text": "x"}}
    pipeline = compiled(
        "match", "tag", "end", filters=config, routes=[route("a"), route("b", tag={"fail": False})]
    )
    steps = pipeline.chains["b", "s"].steps
    assert [step.filter.name for step in steps] == ["tag", "end"]
    assert steps[0].settings.origins == {
        "text": ("filters", "tag"),
        "fail": ("routes", 1, "filters", "tag"),
    }
    assert pipeline.chains["a", "s"].steps[0].settings.origins == {"text": ("filters", "tag")}
    assert [step.filter.name for step in pipeline.entry.steps] == ["match"]


def test_filters_that_cannot_be_loaded_are_all_named() -> None:
    first, second = issues("tagg", "match", "nothing", "end")
    assert first.startswith("pipeline.filters[0]: no plugin 'tagg'")
    assert "did you mean 'tag'?" in first
    assert second.startswith("pipeline.filters[2]: no plugin 'nothing'")


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"requires": "route"}, "`requires` is no frozenset, but 'route'"),
        (
            {"provides": frozenset({"routes"})},
            "`provides` has 'routes', which is no Key and no attribute; did you mean 'route'?",
        ),
        (
            {"route_keys": {"timeout": lambda value: {"text": value}}},
            "its shorthand 'timeout' is a key of routes already",
        ),
        ({"__call__": Filter.__call__}, "has no `__call__`, and is none that `reports`"),
        (
            {"__call__": lambda self, exchange: exchange},
            "its `__call__` does not take an exchange and `forward`",
        ),
    ],
    ids=str,
)
def test_a_class_that_declares_what_cannot_be_is_named(
    attributes: dict[str, Any], fault: str
) -> None:
    faulty = type("Faulty", (Tag,), {"name": "faulty", **attributes})
    assert issues("faulty", "end", plugins=[faulty]) == [
        f"pipeline.filters[0]: filter 'faulty': {fault}"
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["need", "end"], ["filter 'need' requires 'token', but no filter provides it"]),
        (
            ["need", "grant", "end"],
            ["filter 'need' requires 'token', but 'grant' provides it only later"],
        ),
        (
            ["need_more", "end"],
            [
                "filter 'need_more' requires 'instance', but no filter provides it",
                "filter 'need_more' requires 'token', but no filter provides it",
            ],
        ),
        (["end", "tag", "end"], ["'tag' can never run: 'end' before it is terminal"]),
        (
            ["tag"],
            ["the pipeline ends with 'tag', which does not answer; end with 'upstream'"],
        ),
    ],
    ids=str,
)
def test_an_order_that_cannot_work_names_the_filters(
    filters: list[str], expected: list[str]
) -> None:
    assert issues(*filters) == [f"pipeline.filters: {issue}" for issue in expected]


@pytest.mark.parametrize(
    ("filters", "one", "expected"),
    [
        (
            ["match", "grant", "need", "end"],
            route("r", grant=False),
            "filter 'need' requires 'token', but no filter provides it",
        ),
        (
            ["match", "tag", "end"],
            route("r", end=False),
            "the pipeline ends with 'tag', which does not answer; end with 'upstream'",
        ),
        (
            ["match", "end"],
            route("r", end=False),
            "the pipeline ends with 'match', which does not answer; end with 'upstream'",
        ),
    ],
    ids=str,
)
def test_an_order_that_only_a_route_breaks_names_the_route(
    filters: list[str], one: dict[str, Any], expected: str
) -> None:
    assert issues(*filters, routes=[route("fine"), one]) == [f"routes[1]: {expected}"]


def test_what_is_provided_before_the_match_counts_after_it() -> None:
    assert compiled("grant", "match", "need", "end", routes=[route("r")]).chains


def test_a_pipeline_that_ends_with_the_match_does_not_answer() -> None:
    assert issues("match", routes=[route("r")]) == [
        (
            "pipeline.filters: the pipeline ends with 'match', which does not answer; "
            "end with 'upstream'"
        )
    ]


def test_bad_settings_are_explained_once_however_many_routes_have_them() -> None:
    config: dict[str, Any] = {"tag": {"text": []}}
    routes = [route("a"), route("b"), route("c", tag={"text": "fine", "colour": 1})]
    found = issues("match", "tag", "end", filters=config, routes=routes)
    assert [one.partition(": ")[0] for one in found] == [
        "('filters', 'tag')",
        "('routes', 2, 'filters', 'tag')",
    ]
