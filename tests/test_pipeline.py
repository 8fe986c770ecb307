from __future__ import annotations

import asyncio
import gc
import json
from functools import wraps
from typing import TYPE_CHECKING, Any, Self
from weakref import ref

import pytest
from pydantic import model_validator

from gatewayd import (
    ConfigError,
    ConfigIssue,
    Exchange,
    Filter,
    FilterConfig,
    Forward,
    GatewayError,
    Headers,
    Key,
    Reject,
    Response,
)
from gatewayd.config.schema import GatewayConfig
from gatewayd.pipeline import Pipeline, link
from gatewayd.testing import make_exchange, make_gateway, make_service
from tests.support.plugins import plugins_with

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pydantic import ValidationError

    from gatewayd.layers import Settings

TRACE: Key[list[str]] = Key("trace")
TOKEN: Key[str] = Key("token")


class Mark:
    """Something that an exchange holds, and that can be seen to go with it."""


MARK: Key[Mark] = Key("mark")


class TagConfig(FilterConfig):
    """Settings of `tag`."""

    text: str = "tag"
    """What it leaves in the trace."""
    fail: bool = False
    """Whether its constructor fails."""


class Tag(Filter[TagConfig]):
    """Leaves a trace on the way in and on the way out."""

    name = "tag"
    Config = TagConfig

    def __init__(self, config: TagConfig, gateway: Any) -> None:
        super().__init__(config, gateway)
        if config.fail:
            raise ConfigError(ConfigIssue("cannot be used", key="fail", hint="do not fail"))

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = trace = exchange.get(TRACE, [])
        trace.append(self.config.text)
        try:
            return await forward(exchange)
        finally:
            trace.append(f"/{self.config.text}")


class Other(Tag):
    """Another one of the same kind."""

    name = "other"


class Match(Filter[FilterConfig]):
    """Takes the route that the path names, and its first service or the one in the query."""

    name = "match"
    provides = frozenset({"route", "service"})

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        routes = {route.name: route for route in self.gateway.routes.routes()}
        exchange.route = route = routes[exchange.request.path.strip("/")]
        service = exchange.request.query or route.config.services[0].name
        exchange.service = self.gateway.services[service]
        return await forward(exchange)


class End(Filter[FilterConfig]):
    """Answers."""

    name = "end"
    terminal = True

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return Response(200, body=b"end")


class Grant(Tag):
    name = "grant"
    provides = frozenset({TOKEN})


class Need(Tag):
    name = "need"
    requires = frozenset({TOKEN})


class NeedMore(Tag):
    name = "need_more"
    requires = frozenset({TOKEN, "instance"})


class Observe(Filter[FilterConfig]):
    """Sees refusals as responses."""

    name = "observe"
    catches_errors = True

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        response = await forward(exchange)
        response.headers.set("X-Seen", str(response.status))
        return response


class Preflights(Tag):
    name = "preflights"
    answers_preflight = True

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        return Response(204) if "answer" in exchange.request.headers else await forward(exchange)


CLASSES = (Tag, Other, Match, End, Grant, Need, NeedMore, Observe, Preflights)


def explain(error: ValidationError, settings: Settings) -> Sequence[ConfigIssue]:
    (detail,) = error.errors()
    return [ConfigIssue(detail["msg"], key=f"{settings.path}: {detail['loc']}")]


def compiled(*filters: str, plugins: Sequence[type[Filter[Any]]] = (), **config: Any) -> Pipeline:
    """Compile a pipeline; its routes go to the services `s` and `t`."""
    services = {"s": {}, "t": {}, **config.pop("services", {})}
    model = GatewayConfig.model_validate(
        {"pipeline": {"filters": list(filters)}, "services": services, **config}
    )
    gateway = make_gateway(
        routes=config.get("routes", ()),
        services={name: make_service(name, "http://127.0.0.1:9") for name in services},
        plugins=plugins_with(*CLASSES, *plugins),
    )
    pipeline = Pipeline(model, gateway)
    pipeline.compile(explain)
    return pipeline


def issues(*filters: str, **config: Any) -> list[str]:
    """Compile what cannot be compiled, and return what is said of it."""
    with pytest.raises(ConfigError) as caught:
        compiled(*filters, **config)
    return [str(issue) for issue in caught.value.issues]


def route(name: str, service: Any = "s", **filters: Any) -> dict[str, Any]:
    return {"name": name, "service": service, "filters": filters}


async def trace(pipeline: Pipeline, target: str = "/") -> list[str]:
    """Run an exchange, and return the trace that it leaves."""
    exchange = make_exchange("GET", target)
    response = await pipeline(exchange)
    assert response.status == 200
    return exchange.get(TRACE, [])


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


def test_a_constructor_that_refuses_its_settings_is_placed_where_they_stand() -> None:
    found = issues("match", "tag", "end", routes=[route("a"), route("b", tag={"fail": True})])
    assert found == ["routes[1].filters.tag.fail: cannot be used (do not fail)"]


def test_a_constructor_that_fails_is_an_error_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Faulty(Tag):
        name = "faulty"

        def __init__(self, config: TagConfig, gateway: Any) -> None:
            raise ZeroDivisionError

    found = issues("faulty", "end", plugins=[Faulty])
    assert found == ["filters.faulty: filter 'faulty' cannot be constructed: ZeroDivisionError()"]
    assert caplog.records[0].exc_info


class Unreadable(TagConfig):
    """Settings whose validator does not do what pydantic expects of it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.text == "none":
            return None  # type: ignore[return-value]  # forgotten, as it happens
        raise KeyError(self.text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("none", "a validator of its settings returned None"),
        ("secret", "a validator of its settings raised KeyError in "),
    ],
)
def test_a_validator_that_goes_wrong_is_an_error_that_names_the_filter(
    text: str, says: str
) -> None:
    unreadable = type("Faulty", (Tag,), {"name": "faulty", "Config": Unreadable})
    (found,) = issues("faulty", "end", plugins=[unreadable], filters={"faulty": {"text": text}})
    assert found.startswith(f"filters.faulty: filter 'faulty': {says}")
    assert "secret" not in found


class Lifecycle:
    """Filters that note when they start and close; those that are told to fail at it."""

    def __init__(self, **failing: str) -> None:
        self.events: list[str] = []
        self.classes = [self._make(name, failing.get(name, "")) for name in ("one", "two", "three")]

    def _make(self, called: str, failing: str) -> type[Filter[Any]]:
        events = self.events

        class Noting(Tag):
            name = called

            async def start(self) -> None:
                events.append(f"start {called}")
                await self._fail(failing, "start")

            async def close(self) -> None:
                events.append(f"close {called}")
                await self._fail(failing, "close")

            async def _fail(self, how: str, at: str) -> None:
                if how == at:
                    raise OSError("no redis")
                if how == f"{at} exits":
                    raise SystemExit(3)
                if how == f"{at} awaits a cancelled task":
                    task = asyncio.create_task(asyncio.Event().wait())
                    task.cancel()
                    await task
                if how == f"{at} waits":
                    await asyncio.Event().wait()

        return Noting

    def pipeline(self) -> Pipeline:
        return compiled("one", "two", "three", "end", plugins=self.classes)


STARTED = ["start one", "start two", "start three"]
CLOSED = ["close three", "close two", "close one"]


async def test_filters_start_in_order_and_close_in_reverse_once() -> None:
    lifecycle = Lifecycle()
    pipeline = lifecycle.pipeline()
    assert lifecycle.events == []
    await pipeline.start()
    await pipeline.close()
    await pipeline.close()
    assert lifecycle.events == STARTED + CLOSED


@pytest.mark.parametrize(
    ("failing", "says"),
    [
        ("start", r"OSError\('no redis'\)"),
        ("start exits", r"SystemExit\(3\)"),
        ("start awaits a cancelled task", r"CancelledError\(\)"),
        ("start waits", r"TimeoutError\(\) \(not within 0.05 s\)"),
    ],
)
async def test_a_filter_that_does_not_start_is_named_and_those_before_it_are_closed(
    failing: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.pipeline.START_SECONDS", 0.05)
    lifecycle = Lifecycle(two=failing)
    with pytest.raises(GatewayError, match=f"filter 'two' failed to start: {says}"):
        await lifecycle.pipeline().start()
    assert lifecycle.events == ["start one", "start two", "close two", "close one"]


@pytest.mark.parametrize(
    "failing", ["close", "close exits", "close awaits a cancelled task", "close waits"]
)
async def test_a_filter_that_does_not_close_is_logged_and_the_others_are_closed(
    failing: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayd.pipeline.CLOSE_SECONDS", 0.05)
    lifecycle = Lifecycle(two=failing)
    pipeline = lifecycle.pipeline()
    await pipeline.start()
    await pipeline.close()
    assert lifecycle.events == STARTED + CLOSED
    assert [record.message for record in caplog.records] == ["filter two failed to close"]


def raising(error: BaseException) -> type[Filter[Any]]:
    """Return a filter that raises on the way in."""

    class Raising(Filter[FilterConfig]):
        name = "raising"

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            raise error

    return Raising


async def fails(error: BaseException, *before: str) -> tuple[Response, dict[str, Any]]:
    """Run an exchange through filters of which the last one raises."""
    pipeline = compiled(*before, "raising", "end", plugins=[raising(error)])
    exchange = make_exchange("GET", "/secret?token=1")
    response = await pipeline(exchange)
    assert isinstance(response.body, bytes)
    problem: dict[str, Any] = json.loads(response.body)
    assert problem["request_id"] == exchange.id
    return response, problem


async def test_a_refusal_is_answered() -> None:
    reject = Reject(429, "rate_limited", "Slow down.", [("Retry-After", "7")])
    response, problem = await fails(reject, "tag")
    assert (response.status, problem["code"]) == (429, "rate_limited")
    assert response.headers.get("Retry-After") == "7"


@pytest.mark.parametrize(
    "error",
    [ValueError("password=1"), GatewayError("password=1"), SystemExit("password=1"),
     Reject(403, "denied", "", [("X-Reason", "password=1\r\nSet-Cookie: a")]),
     Reject(403, "denied", "password=1 \ud800")],
    ids=["exception", "not a refusal", "exit", "unsendable field", "unsendable text"],
)  # fmt: skip
async def test_whatever_else_is_raised_is_our_fault_and_gives_nothing_away(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    response, problem = await fails(error)
    assert (response.status, problem["code"]) == (500, "internal_error")
    assert "password" not in json.dumps(problem)
    assert [header for header, _ in response.headers] == ["Content-Type"]
    (record,) = caplog.records
    assert problem["request_id"] in record.getMessage()
    assert "token" not in record.getMessage()
    assert record.exc_info


async def test_an_observer_sees_refusals_as_responses() -> None:
    response, _ = await fails(Reject(404, "route_not_found"), "observe", "tag")
    assert response.headers.get("X-Seen") == "404"


async def test_an_observer_sees_failures_as_responses(caplog: pytest.LogCaptureFixture) -> None:
    response, _ = await fails(ValueError(), "observe")
    assert response.headers.get("X-Seen") == "500"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("caught_by", [(), ("observe",)])
async def test_a_refused_exchange_is_freed_at_once(caught_by: tuple[str, ...]) -> None:
    class RefuseAfterAFailure(Filter[FilterConfig]):
        name = "refuse"
        terminal = True

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            try:
                raise KeyError(exchange.id)
            except KeyError as why:
                raise Reject(403, "no_entry") from why

    pipeline = compiled(*caught_by, "refuse", plugins=(RefuseAfterAFailure,))
    exchange = make_exchange()
    exchange[MARK] = mark = Mark()
    gone = ref(mark)
    gc.disable()  # it would hide that somebody holds on to what has ended
    try:
        assert (await pipeline(exchange)).status == 403
        assert exchange.refusal is not None
        del exchange, mark
        assert gone() is None
    finally:
        gc.enable()


async def test_a_cancelled_exchange_is_no_failure() -> None:
    pipeline = compiled("observe", "raising", "end", plugins=[raising(asyncio.CancelledError())])
    call = asyncio.create_task(pipeline(make_exchange()))
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()


async def test_an_exchange_that_nobody_has_cancelled_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response, _ = await fails(asyncio.CancelledError())  # of a task that the filter awaited
    assert response.status == 500
    assert caplog.records[0].exc_info


async def test_other_filters_can_catch_refusals_and_try_again() -> None:
    class Retry(Filter[FilterConfig]):
        name = "retry"

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            try:
                return await forward(exchange)
            except Reject:
                return await forward(exchange)

    class Flaky(Filter[FilterConfig]):
        name = "flaky"
        attempts = 0

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            Flaky.attempts += 1
            if Flaky.attempts == 1:
                raise Reject(503, "flaky")
            return await forward(exchange)

    pipeline = compiled("retry", "tag", "flaky", "end", plugins=[Retry, Flaky])
    assert await trace(pipeline) == ["tag", "/tag"] * 2


async def test_a_terminal_filter_that_forwards_is_a_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Endless(Tag):
        name = "endless"
        terminal = True

    response = await compiled("endless", plugins=[Endless])(make_exchange())
    assert response.status == 500
    assert "end of the pipeline" in caplog.text


async def preflight(*filters: str, **headers: str) -> tuple[Response, list[str]]:
    """Run a preflight for a route that takes GET and PUT."""

    class MatchPreflight(Match):
        name = "match_preflight"

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            exchange.preflight = True
            return await super().__call__(exchange, forward)

    one = {**route("r"), "methods": ["PUT", "GET"]}
    pipeline = compiled(
        "match_preflight", *filters, "other", "end", plugins=[MatchPreflight], routes=[one]
    )
    exchange = make_exchange("OPTIONS", "/r", headers=headers)
    return await pipeline(exchange), exchange.get(TRACE, [])


async def test_a_preflight_gets_as_far_as_the_filter_that_answers_it() -> None:
    response, left = await preflight("tag", "preflights", answer="yes")
    assert response.status == 204
    assert left == ["tag", "/tag"]


@pytest.mark.parametrize("filters", [["tag", "preflights"], ["tag"], []], ids=str)
async def test_a_preflight_that_nobody_answers_is_refused(filters: list[str]) -> None:
    response, left = await preflight(*filters)
    assert response.status == 405
    assert response.headers.get("Allow") == "GET, HEAD, PUT"
    assert "other" not in left


async def test_a_chain_can_be_linked_by_hand() -> None:
    async def end(exchange: Exchange) -> Response:
        return Response(299, Headers())

    gateway = make_gateway()
    filters = [Tag(TagConfig(text=text), gateway) for text in ("a", "b")]
    exchange = make_exchange()
    assert (await link(filters, end)(exchange)).status == 299
    assert exchange[TRACE] == ["a", "b", "/b", "/a"]


class Stamp(Filter[FilterConfig]):
    """Mark the exchange, and let ``forward`` do the rest."""

    name = "stamp"

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = [*exchange.get(TRACE, []), self.name]
        return await forward(exchange)


class OnTop(Stamp):
    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = [*exchange.get(TRACE, []), "top"]
        return await super().__call__(exchange, forward)


class Plain(Stamp):
    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        return super().__call__(exchange, forward)


class WithKeyword(Stamp):
    async def __call__(
        self, exchange: Exchange, forward: Forward, *, mark: str = "keyword"
    ) -> Response:
        exchange[TRACE] = [mark]
        return await super().__call__(exchange, forward)


class WithMore(Stamp):
    async def __call__(self, exchange: Exchange, forward: Forward, mark: str = "more") -> Response:
        exchange[TRACE] = [mark]
        return await super().__call__(exchange, forward)


class WithOwnDefault(Stamp):
    async def __call__(self, exchange: Exchange, forward: Forward | None = None) -> Response:
        assert forward is not None
        return await super().__call__(exchange, forward)


def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await call(*args, **kwargs)

    return wrapper


class Wrapped(Stamp):
    __call__ = wrapped(Stamp.__call__)


class OfTheClass(Stamp):
    @classmethod
    async def __call__(cls, exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = [cls.name]
        return await forward(exchange)


class OfNobody(Stamp):
    @staticmethod
    async def __call__(exchange: Exchange, forward: Forward) -> Response:
        exchange[TRACE] = ["nobody"]
        return await forward(exchange)


@pytest.mark.parametrize(
    ("plugin", "left"),
    [
        (Stamp, ["stamp"]),
        (OnTop, ["top", "stamp"]),
        (Plain, ["stamp"]),
        (WithKeyword, ["keyword", "stamp"]),
        (WithMore, ["more", "stamp"]),
        (WithOwnDefault, ["stamp"]),
        (Wrapped, ["stamp"]),
        (OfTheClass, ["stamp"]),
        (OfNobody, ["nobody"]),
    ],
)
async def test_whatever_a_filter_s_call_looks_like_it_forwards_within_its_chain(
    plugin: type[Stamp], left: list[str]
) -> None:
    """One filter stands in two chains; each goes on to its own end."""
    one = plugin(FilterConfig(), make_gateway())

    def ending(status: int) -> Forward:
        async def end(exchange: Exchange) -> Response:
            return Response(status)

        return end

    chains = {status: link([one], ending(status)) for status in (201, 202)}
    for status in (201, 202, 201):
        exchange = make_exchange()
        assert (await chains[status](exchange)).status == status
        assert exchange[TRACE] == left
    response = await one(make_exchange(), ending(203))  # which the chains have not changed
    assert response.status == 203
