from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import sign_header
from gatewayd.explain.records import Records
from gatewayd.testing import Recorder, in_memory

if TYPE_CHECKING:
    from gatewayd import Response

KEY = "a key of the tests"
FIELD = "X-Gatewayd-Explain"
CONFIG = """
pipeline.filters = [
  "request_id", "explain", "ops", "route_match", "auth", "headers", "balancer", "upstream",
]
{settings}
filters.auth.methods = ["jwt"]
filters.auth.jwt = {{ algorithms = ["HS256"], secret = "0123456789abcdef0123456789abcdef" }}

[services.origin]
instances = [{{ url = "http://127.0.0.1:9" }}]

[[routes]]
name = "items"
path = "/items"
methods = ["GET"]
service = "origin"
auth_required = false
filters.headers.response.set = {{ X-Out = "1" }}

[[routes]]
name = "posts"
path = "/items"
methods = ["POST"]
service = "origin"

[[routes]]
name = "closed"
path = "/closed"
service = "origin"
"""
ON = f'filters.explain.key = "{KEY}"'


def signed(purpose: str = "explain", key: str = KEY, seconds: int = 60) -> str:
    return sign_header(key.encode(), purpose, int(time.time()) + seconds)


async def ask(
    target: str = "/items",
    field: str | None = None,
    settings: str = ON,
    headers: dict[str, str] | None = None,
) -> tuple[Response, Recorder]:
    upstream = Recorder()
    async with in_memory(CONFIG.format(settings=settings), upstream=upstream) as gateway:
        shown = {FIELD: signed() if field is None else field} | (headers or {})
        return await gateway.send("GET", target, headers=shown), upstream


async def record_of(target: str = "/items", **given: Any) -> dict[str, Any]:
    response, _ = await ask(target, **given)
    text = response.headers.get(FIELD)
    assert text is not None
    assert text.isascii()
    parsed: dict[str, Any] = json.loads(text)
    return parsed


async def test_tells_the_route_and_where_it_stands() -> None:
    record = await record_of()
    line = CONFIG.splitlines().index('name = "items"') + 1
    assert record["route"]["name"] == "items"
    assert record["route"]["place"].endswith(f"gateway.toml:{line - 1}")
    assert record["service"] == "origin"


async def test_tells_why_no_other_route_took_it() -> None:
    record = await record_of()
    assert {one["route"]: one["reason"] for one in record["candidates"]} == {
        "items": "takes the request",
        "posts": "method: takes POST",
        "closed": "path",
    }


async def test_tells_what_each_filter_did() -> None:
    filters = {one["filter"]: one for one in (await record_of())["filters"]}
    assert list(filters) == [
        "request_id", "explain", "ops", "route_match", "auth", "headers", "balancer", "upstream",
    ]  # fmt: skip
    assert filters["headers"]["decision"] == "forwarded"
    assert filters["headers"]["response_headers"] == ["+x-out"]
    assert filters["upstream"]["decision"] == "answered"
    assert filters["upstream"]["instance"] == "http://127.0.0.1:9"
    assert all(one["loop_us"] >= 0 <= one["wait_us"] for one in filters.values())


async def test_tells_where_the_settings_of_a_filter_stand() -> None:
    filters = {one["filter"]: one for one in (await record_of())["filters"]}
    line = CONFIG.splitlines().index('filters.headers.response.set = {{ X-Out = "1" }}') + 1
    assert filters["headers"]["place"].endswith(f"gateway.toml:{line}")
    assert filters["balancer"]["place"] == ""  # of its defaults


@pytest.mark.parametrize(
    ("target", "status", "code", "refused_by"),
    [
        ("/nowhere", 404, "route_not_found", "route_match"),
        ("/closed", 401, "authentication_required", "auth"),
    ],
)
async def test_explains_refusals(target: str, status: int, code: str, refused_by: str) -> None:
    record = await record_of(target)
    assert (record["refusal"]["status"], record["refusal"]["code"]) == (status, code)
    assert [one["filter"] for one in record["filters"] if one["decision"] == "refused"] == [
        refused_by
    ]


@pytest.mark.parametrize(
    "field",
    ["", "1", signed("trace"), signed(key="another key, as long"), signed(seconds=-1), "9.9.9"],
)
async def test_who_has_no_signature_gets_nothing(field: str) -> None:
    response, upstream = await ask(field=field)
    assert response.status == 200
    assert FIELD not in response.headers
    assert FIELD not in upstream.exchanges[0].request.headers


async def test_the_field_does_not_go_upstream() -> None:
    _, upstream = await ask()
    assert FIELD not in upstream.exchanges[0].request.headers


async def test_without_a_key_it_is_not_there() -> None:
    response, upstream = await ask(settings="")
    assert FIELD not in response.headers
    assert FIELD in upstream.exchanges[0].request.headers


async def test_no_value_of_a_field_is_told() -> None:
    response, _ = await ask(
        headers={"X-Secret": "of-the-client", "Authorization": "Basic b2s6b2s="}
    )
    text = response.headers.get(FIELD) or ""
    assert "of-the-client" not in text
    assert "b2s6b2s" not in text


async def test_what_is_too_long_for_a_field_says_what_it_lacks() -> None:
    record = await record_of(settings=f"{ON}\nfilters.explain.max_bytes = 1024")
    assert record["left_out"] == ["candidates", "filters"]
    assert record["route"]["name"] == "items"


async def test_the_record_is_kept_for_the_admin_api() -> None:
    async with in_memory(CONFIG.format(settings=ON)) as gateway:
        response = await gateway.send("GET", "/items", headers={FIELD: signed()})
        request_id = response.headers.get("X-Request-Id") or ""
        kept = gateway._generations.kept.explanations.get(request_id)
    assert kept is not None
    assert kept["route"]["name"] == "items"


def test_records_are_bounded() -> None:
    records = Records()
    for number in range(100):
        records.add({"id": str(number)})
    kept = [number for number in range(100) if records.get(str(number)) is not None]
    assert kept == list(range(36, 100))
