"""explain: who gets a record, what is in it, and what must not be."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gatewayd import Headers, Reject, Response, UpstreamReset, sign_header
from gatewayd.explain.record import MAX_CANDIDATES
from gatewayd.explain.records import Records
from gatewayd.testing import Recorder, in_memory, make_exchange, make_gateway, running
from gatewayd_filters.explain import Explain, ExplainConfig
from tests.support.in_process import serving

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd import Exchange, Forward

KEY = "a key of the operator"
FIELD = "X-Gatewayd-Explain"
CONFIG = f"""
pipeline.filters = [
  "explain", "tracing", "route_match", "cors", "auth", "token_bucket", "headers", "retry",
  "balancer", "upstream",
]
filters.explain.key = "{KEY}"
filters.auth.methods = ["jwt"]
filters.auth.required = false
filters.auth.jwt = {{ algorithms = ["HS256"], secret = "0123456789abcdef0123456789abcdef" }}
filters.cors.allow_origins = ["https://app.example.org"]
filters.retry.backoff = {{ base = 0.001, max = 0.001 }}

[services.shop]
instances = [{{ url = "http://127.0.0.1:9" }}, {{ url = "http://127.0.0.1:10" }}]

[[routes]]
name = "tenant"
path = "/items/{{id}}"
headers = {{ X-Tenant = "seven" }}
service = "shop"
filters.headers.request.remove = ["X-Tenant"]

[[routes]]
name = "item"
path = "/items/{{id}}"
service = "shop"
filters.headers.request.set = {{ X-Item = "{{params.id}}" }}
filters.headers.response.remove = ["X-Powered-By"]

[[routes]]
name = "order"
path = "/orders"
methods = ["PUT"]
service = "shop"

[[routes]]
name = "closed"
path = "/closed"
service = "shop"
auth_required = true

[[routes]]
name = "rare"
path = "/rare"
service = "shop"
rate_limit = "1/day"

[[routes]]
name = "old"
path = "/old"
redirect = {{ to = "/items" }}
"""
WITHOUT_KEY = CONFIG.replace(f'filters.explain.key = "{KEY}"', "")
MANY_ROUTES = CONFIG + "".join(
    f'[[routes]]\nname = "further-{index}"\npath = "/further/{index}"\nservice = "shop"\n'
    for index in range(60)
)


def configured(setting: str, config: str = CONFIG) -> str:
    """Add a setting of the filter to a configuration."""
    key = "filters.explain.key"
    return config.replace(key, f"filters.explain.{setting}\n{key}")


def signed(key: str = KEY, purpose: str = "explain", seconds: int = 300) -> dict[str, str]:
    return {FIELD: sign_header(key.encode(), purpose, int(time.time()) + seconds)}


async def explained(
    target: str = "/items/7",
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    upstream: Forward | None = None,
    config: str = CONFIG,
) -> dict[str, Any]:
    """Return the record of one exchange."""
    async with in_memory(config, upstream=upstream) as gateway:
        asked = {**signed(), **(headers or {})}
        response = await gateway.send(method, target, headers=asked)
    record: dict[str, Any] = json.loads(response.headers.get(FIELD, ""))
    return record


def decisions(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["filter"], one["decision"]) for one in record["filters"]]


def visit(record: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in record["filters"] if one["filter"] == name)
    return found


def candidate(record: dict[str, Any], route: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in record["candidates"] if one["route"] == route)
    return found


def line_of(text: str) -> int:
    """Return the line of the configuration on which a text stands."""
    return CONFIG[: CONFIG.index(text)].count("\n") + 1


async def test_without_a_key_the_filter_is_left_out() -> None:
    async with running(Explain) as explain:
        assert explain.does_nothing


async def test_with_a_key_the_filter_is_there() -> None:
    async with running(Explain, {"key": KEY}) as explain:
        assert not explain.does_nothing


async def test_without_a_key_nobody_is_asked_to_observe() -> None:
    gateway = make_gateway()
    async with running(Explain, gateway=gateway):
        assert gateway.observers == []


async def test_without_a_key_the_field_passes_unchanged() -> None:
    upstream, asked = Recorder(), signed()
    async with in_memory(WITHOUT_KEY, upstream=upstream) as gateway:
        response = await gateway.send("GET", "/items/7", headers=asked)
    assert upstream.request.headers.get(FIELD) == asked[FIELD]
    assert FIELD not in response.headers


@pytest.mark.parametrize(
    "asked",
    [
        signed(purpose="trace"),
        signed(seconds=-1),
        signed(seconds=200_000),
        signed(key="a key of somebody else"),
        {FIELD: "garbage"},
        {FIELD: ""},
        {FIELD: signed()[FIELD] + ", " + signed()[FIELD]},
    ],
    ids=["trace", "expired", "too long", "forged", "garbage", "empty", "twice"],
)
async def test_a_field_that_does_not_count_gets_nothing(asked: dict[str, str]) -> None:
    upstream = Recorder()
    async with in_memory(CONFIG, upstream=upstream) as gateway:
        response = await gateway.send("GET", "/items/7", headers=asked)
    assert (response.status, FIELD in response.headers) == (200, False)
    assert FIELD not in upstream.request.headers
    assert upstream.exchanges[0].observation is None


async def test_a_request_without_the_field_gets_no_record() -> None:
    upstream = Recorder()
    async with in_memory(CONFIG, upstream=upstream) as gateway:
        response = await gateway.send("GET", "/items/7")
    assert FIELD not in response.headers
    assert upstream.exchanges[0].observation is None


async def test_a_field_that_counts_does_not_go_upstream() -> None:
    upstream = Recorder()
    await explained(upstream=upstream)
    assert FIELD not in upstream.request.headers


@pytest.mark.parametrize(("key", "result"), [(KEY, "explained"), ("another of 16 ch", "refused")])
async def test_who_asks_is_counted(key: str, result: str) -> None:
    gateway = make_gateway()
    async with running(Explain, {"key": KEY}, gateway=gateway):
        (wants,) = gateway.observers
        wants(make_exchange(headers=signed(key)))
        wants(make_exchange())
    counter = gateway.metrics.counter("gatewayd_explanations", "", ("result",))
    assert {labels: cell.value for labels, cell in counter.cells().items()} == {(result,): 1}


async def test_the_field_is_a_setting() -> None:
    upstream = Recorder()
    config = configured('header = "X-Why"')
    async with in_memory(config, upstream=upstream) as gateway:
        asked = {"X-Why": signed()[FIELD]}
        response = await gateway.send("GET", "/items/7", headers=asked)
    assert json.loads(response.headers.get("X-Why", ""))["route"]["name"] == "item"
    assert "X-Why" not in upstream.request.headers


async def test_the_record_is_of_this_exchange() -> None:
    upstream = Recorder()
    record = await explained(upstream=upstream)
    assert record["id"] == upstream.exchanges[0].id
    assert record["request"] == {
        "method": "GET", "path": "/items/7", "host": "gateway.example", "client": "192.0.2.1",
    }  # fmt: skip


async def test_the_record_names_the_trace() -> None:
    upstream = Recorder()
    record = await explained(upstream=upstream)
    assert record["trace_id"] == upstream.exchanges[0].trace.trace_id


async def test_the_record_names_the_route_and_its_place() -> None:
    record = await explained()
    route, place = record["route"], record["route"].pop("place")
    assert route == {"name": "item", "params": {"id": "7"}}
    # A table of an array stands where its header does, above its name.
    line = line_of('name = "item"') - 1
    assert place.endswith(f"gateway.toml:{line}")
    assert record["service"] == "shop"


@pytest.mark.parametrize(
    ("route", "failed", "reason"),
    [
        ("item", "", "takes the request"),
        ("order", "path", "path"),
        ("old", "path", "path"),
    ],
)
async def test_candidates_tell_what_they_failed_at(route: str, failed: str, reason: str) -> None:
    found = candidate(await explained(), route)
    assert (found["failed"], found["reason"]) == (failed, reason)


async def test_a_candidate_names_the_field_that_failed() -> None:
    found = candidate(await explained(), "tenant")
    assert found["failed"] == found["reason"] == "header X-Tenant = 'seven'"


async def test_a_candidate_names_the_methods_that_it_takes() -> None:
    found = candidate(await explained("/orders", method="POST"), "order")
    assert (found["failed"], found["reason"]) == ("method", "method: takes PUT")


async def test_the_nearest_candidates_come_first() -> None:
    record = await explained("/orders", method="POST")
    assert record["candidates"][0]["route"] == "order"


async def test_candidates_are_judged_by_the_request_as_it_came() -> None:
    record = await explained(headers={"X-Tenant": "seven"})  # which a filter removes
    assert record["route"]["name"] == "tenant"
    assert candidate(record, "tenant")["reason"] == "takes the request"


async def test_candidates_of_a_preflight_are_judged_by_the_method_it_asks_about() -> None:
    preflight = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "PUT"}
    record = await explained("/orders", method="OPTIONS", headers=preflight)
    assert record["route"]["name"] == "order"
    assert candidate(record, "order")["reason"] == "takes the request"


async def test_candidates_are_bounded() -> None:
    record = await explained(config=configured("max_bytes = 60000", MANY_ROUTES))
    assert len(record["candidates"]) == MAX_CANDIDATES
    assert record["candidates"][0]["route"] == "item"


async def test_filters_tell_their_decisions_in_order() -> None:
    names = ["tracing", "route_match", "cors", "auth", "token_bucket", "headers", "retry"]
    expected = [*((name, "forwarded") for name in [*names, "balancer"]), ("upstream", "answered")]
    first, *others = decisions(await explained())
    assert first[0] == "explain"
    assert others == expected


async def test_filters_tell_where_they_are_configured() -> None:
    record = await explained()
    place = visit(record, "auth")["place"]
    assert place.endswith(f"gateway.toml:{line_of('filters.auth.methods')}")


async def test_filters_tell_which_fields_they_change() -> None:
    answer = Response(200, Headers.of([("X-Powered-By", "php")]))
    record = await explained(upstream=Recorder(answer))
    found = visit(record, "headers")
    assert "+x-item" in found["request_headers"]
    assert found["response_headers"] == ["-x-powered-by"]


async def test_each_attempt_is_told_with_its_instance() -> None:
    record = await explained(upstream=Recorder(UpstreamReset("test", sent=False), Response(200)))
    attempts = [one for one in record["filters"] if one["filter"] == "upstream"]
    assert [one["decision"] for one in attempts] == ["refused", "answered"]
    assert [one.get("code") for one in attempts] == ["upstream_reset", None]
    assert {one["instance"] for one in attempts} == {"http://127.0.0.1:9", "http://127.0.0.1:10"}


async def test_a_redirect_is_explained() -> None:
    record = await explained("/old")
    assert (record["route"]["name"], record["service"]) == ("old", None)
    assert decisions(record)[-1] == ("route_match", "answered")


@pytest.mark.parametrize(
    ("target", "status", "code", "refusing"),
    [
        ("/nowhere", 404, "route_not_found", "route_match"),
        ("/closed", 401, "authentication_required", "auth"),
        ("/rare", 429, "rate_limited", "token_bucket"),
    ],
)
async def test_refusals_are_explained(target: str, status: int, code: str, refusing: str) -> None:
    async with in_memory(CONFIG) as gateway:
        for _ in range(2):  # the second one is beyond a limit of one
            response = await gateway.send("GET", target, headers=signed())
    record = json.loads(response.headers.get(FIELD, ""))
    assert response.status == status
    assert (record["refusal"]["status"], record["refusal"]["code"]) == (status, code)
    last = record["filters"][-1]
    assert (last["filter"], last["decision"], last["code"]) == (refusing, "refused", code)


async def test_what_is_not_refused_has_no_refusal() -> None:
    assert (await explained())["refusal"] is None


async def test_a_bug_of_a_filter_is_explained() -> None:
    record = await explained(upstream=Recorder(RuntimeError("a bug")))
    found = visit(record, "upstream")
    assert (found["decision"], found["reason"]) == ("failed", "RuntimeError")
    assert record["refusal"]["code"] == "internal_error"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer s3cret"},
        {"Authorization": "s3cret"},
        {"Cookie": "session=s3cret"},
        {"X-API-Key": "s3cret"},
        {"X-Tenant": "s3cret"},
        {"Origin": "https://s3cret.test"},
        {"User-Agent": "s3cret"},
        {"traceparent": "s3cret"},
        {"X-Item": "s3cret"},
    ],
)
@pytest.mark.parametrize("target", ["/items/7", "/closed", "/nowhere"])
async def test_values_of_fields_are_not_told(headers: dict[str, str], target: str) -> None:
    answer = Response(200, Headers.of([("Set-Cookie", "session=s3cret")]))
    record = await explained(target, headers=headers, upstream=Recorder(answer))
    assert "s3cret" not in json.dumps(record)


async def test_the_signed_field_is_not_told() -> None:
    asked = signed()
    record = await explained(headers=asked)
    assert asked[FIELD] not in json.dumps(record)


@pytest.mark.parametrize("segment", ["caf%C3%A9", "a%22b", "%F0%9F%90%8D"])
async def test_the_field_is_json_in_printable_ascii(segment: str) -> None:
    async with in_memory(CONFIG) as gateway:
        response = await gateway.send("GET", f"/items/{segment}", headers=signed())
    value = response.headers.get(FIELD, "")
    assert response.status == 200
    assert value.isascii()
    assert value.isprintable()
    assert json.loads(value)["route"]["name"] == "item"


async def test_a_refusal_that_names_what_was_sent_is_explained() -> None:
    refusal = Reject(400, "bad_name", "No file is called 'caf\xe9\r\n\x7f'.")
    async with in_memory(CONFIG, upstream=Recorder(refusal)) as gateway:
        response = await gateway.send("GET", "/items/7", headers=signed())
    assert response.status == 400
    record = json.loads(response.headers.get(FIELD, ""))
    assert record["refusal"]["detail"] == refusal.detail


async def test_an_upstream_s_own_field_is_replaced() -> None:
    answer = Response(200, Headers.of([(FIELD, "forged")]))
    async with in_memory(CONFIG, upstream=Recorder(answer)) as gateway:
        response = await gateway.send("GET", "/items/7", headers=signed())
    (value,) = response.headers.get_all(FIELD)
    assert json.loads(value)["route"]["name"] == "item"


@pytest.mark.parametrize(
    ("spare", "left_out"),
    [
        ((), None),
        (("candidates",), ["candidates"]),
        (("candidates", "filters"), ["candidates", "filters"]),
    ],
)
async def test_a_record_is_shortened_step_by_step(
    spare: tuple[str, ...], left_out: list[str] | None
) -> None:
    target = "/items/" + "x" * 1000  # so that no record is shorter than the least limit
    whole = await explained(target, config=configured("max_bytes = 60000"))
    kept = {name: value for name, value in whole.items() if name not in spare}
    room = len(json.dumps(kept, separators=(",", ":"))) + 100
    record = await explained(target, config=configured(f"max_bytes = {room}"))
    assert record.get("left_out") == left_out
    assert not record.keys() & set(spare)


async def test_a_record_is_never_longer_than_what_is_allowed() -> None:
    async with in_memory(configured("max_bytes = 1024")) as gateway:
        response = await gateway.send("GET", "/items/" + "x" * 3000, headers=signed())
    value = response.headers.get(FIELD, "")
    assert len(value) <= 1024
    assert json.loads(value)["left_out"] == ["everything"]


async def run(exchanges: list[Exchange], folder: Path, config: str) -> Records:
    async with serving(config, folder) as gateway:
        generation = gateway.generations.current
        for exchange in exchanges:
            await generation.pipeline(exchange)
        return generation.kept.explanations


async def test_records_are_kept_whole(tmp_path: Path) -> None:
    exchange = make_exchange("GET", "/nowhere/" + "x" * 3000, headers=signed())
    records = await run([exchange], tmp_path, configured("max_bytes = 1024"))
    assert exchange.response is not None
    sent = json.loads(exchange.response.headers.get(FIELD, ""))
    record = records.get(sent["id"])
    assert record is not None
    assert {"candidates", "filters", "refusal"} <= record.keys()


async def test_what_was_not_asked_for_is_not_kept(tmp_path: Path) -> None:
    exchange = make_exchange("GET", "/nowhere", headers=signed(purpose="trace"))
    records = await run([exchange], tmp_path, CONFIG)
    assert exchange.response is not None
    assert records.get(exchange.id) is None


async def test_the_last_64_records_are_kept(tmp_path: Path) -> None:
    exchanges = [make_exchange("GET", "/nowhere", headers=signed()) for _ in range(66)]
    records = await run(exchanges, tmp_path, CONFIG)
    assert [records.get(one.id) is not None for one in exchanges] == [False] * 2 + [True] * 64


def test_an_id_that_comes_again_has_the_newest_record() -> None:
    records = Records()
    records.add({"id": "one"})
    for index in range(63):
        records.add({"id": f"other {index}"})
    records.add({"id": "one", "again": True})
    records.add({"id": "last"})
    assert records.get("one") == {"id": "one", "again": True}


@pytest.mark.parametrize(
    "settings",
    [
        {"key": "short"},
        {"header": "X Why"},
        {"max_bytes": 1023},
        {"max_bytes": 60_001},
        {"unknown": 1},
    ],
)
def test_refuses_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ExplainConfig.model_validate(settings)


def test_the_key_is_in_no_repr() -> None:
    assert KEY not in repr(ExplainConfig(key=KEY))
