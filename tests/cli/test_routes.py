from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.cli.described_request import _check_header, _check_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Run

ORDER = ("routes", "explain", "GET", "http://api.example.org/orders/7?page=2")


def filters_of(explanation: dict[str, Any], service: str | None) -> dict[str, Any]:
    (chain,) = [one for one in explanation["chains"] if one["service"] == service]
    return {one["filter"]: one for one in chain["filters"]}


def setting_of(explanation: dict[str, Any], service: str, name: str, key: str) -> dict[str, Any]:
    (setting,) = [
        one for one in filters_of(explanation, service)[name]["settings"] if one["key"] == key
    ]
    return setting


def test_list_is_in_the_order_in_which_routes_are_tried(run: Callable[..., Run]) -> None:
    lines = run("routes", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "beta", "orders", "old", "everything"]
    assert "origin (95), canary (5)" in lines[2]
    assert "redirect 308 https://new.example.org{rest}" in lines[3]


def test_list_as_json(run: Callable[..., Run]) -> None:
    beta = run("routes", "list", "--json").json()[0]
    assert beta == {
        "name": "beta",
        "priority": 0,
        "hosts": ["api.example.org"],
        "path": "/orders/{id}",
        "match": "prefix",
        "methods": [],
        "conditions": ["header X-Beta = '1'", "header X-Token = '***'"],
        "to": ["canary"],
        "timeout": None,
        "place": "conf/gateway.toml:23",
    }


def test_explain_tells_route_parameters_and_target(run: Callable[..., Run]) -> None:
    explained = run(*ORDER, "--json").json()
    assert explained["request"] == {
        "host": "api.example.org",
        "path": "/orders/7",
        "query": "page=2",
    }
    assert explained["route"] == "orders"
    assert explained["place"] == "conf/gateway.toml:15"
    assert explained["params"] == {"id": "7"}
    assert explained["to"] == ["origin (95)", "canary (5)"]


def test_explain_tells_why_the_others_do_not_take_it(run: Callable[..., Run]) -> None:
    explained = run(*ORDER, "--json").json()
    assert [(one["route"], one["reason"]) for one in explained["verdicts"]] == [
        ("beta", "header X-Beta = '1'"),
        ("orders", "takes the request"),
        ("old", "path"),
        ("everything", "matches too, but orders is tried before"),
    ]


@pytest.mark.parametrize(
    ("arguments", "route"),
    [
        (
            ["get", "http://api.example.org/orders/7", "-H", "X-Beta: 1", "-H", "X-Token: hunter2"],
            "beta",
        ),
        (["GET", "/orders/7", "-H", "Host: api.example.org"], "orders"),
        (["GET", "http://other.test/orders/7", "--header", "host:api.example.org"], "orders"),
        (["POST", "http://api.example.org/orders/7"], "everything"),
        (["GET", "http://api.example.org"], "everything"),
        (["GET", "https://api.example.org?x=/old"], "everything"),
        (["GET", "/x/../old//path#part"], "old"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_explain_finds_what_the_gateway_finds(
    run: Callable[..., Run], arguments: list[str], route: str
) -> None:
    assert run("routes", "explain", *arguments, "--json").json()["route"] == route


def test_explain_tells_the_layer_of_each_setting(run: Callable[..., Run]) -> None:
    explained = run(*ORDER, "--json").json()
    assert setting_of(explained, "canary", "cors", "max_age") == {
        "key": "max_age",
        "value": 7,
        "layer": "services.canary.filters.cors",
        "place": "conf/gateway.toml:40",
    }
    default = setting_of(explained, "origin", "cors", "max_age")
    assert (default["value"], default["layer"], default["place"]) == (600, "default", "")


def test_explain_tells_which_layer_removed_a_filter(run: Callable[..., Run]) -> None:
    explained = run(*ORDER, "--json").json()
    names = ["request_id", "route_match", "cors", "body_limit", "balancer", "upstream"]
    filters = filters_of(explained, "origin")
    assert list(filters) == names
    assert filters["body_limit"]["removed_by"] == {
        "layer": "routes[1].filters.body_limit",
        "place": "conf/gateway.toml:21",
    }


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize(
    "command",
    [["routes", "list"], [*ORDER], [*ORDER, "-H", "X-Beta: 1", "-H", "X-Token: guess"]],
    ids=["list", "explain", "explain a condition"],
)
def test_secrets_are_hidden(run: Callable[..., Run], command: list[str], form: list[str]) -> None:
    shown = run(*command, *form).out
    assert "X-Secret-Name" not in shown
    assert "hunter2" not in shown
    assert "***" in shown


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_secrets_that_stand_in_a_file_are_hidden(
    run: Callable[..., Run], tmp_path: Path, form: list[str]
) -> None:
    file = tmp_path / "conf/gateway.toml"
    text = file.read_text().replace('["request_id"', '["request_id", "explain", "tracing"')
    literal = """
    filters.explain.key = "hunter2-hunter2-hunter2"
    filters.tracing.headers = { Authorization = "hunter2" }
    filters.balancer.strategy = { name = "sticky", secret = "hunter2-hunter2-hunter2" }
    """
    file.write_text(literal + text)
    shown = run(*ORDER, *form).out
    assert "hunter2" not in shown
    assert "Authorization" in shown
    assert "sticky" in shown


def test_explain_of_a_redirect_ends_where_it_is_answered(run: Callable[..., Run]) -> None:
    explained = run("routes", "explain", "GET", "/old/page", "--json").json()
    assert explained["to"] == ["redirect 308 https://new.example.org{rest}"]
    assert list(filters_of(explained, None)) == ["request_id", "route_match"]


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["GET", "/%2e%2e%2fold"], 400, "bad_path"),
        (["GET", "/a", "-H", "Host: a b"], 400, "malformed_request"),
        (["CONNECT", "/a"], 405, "method_not_allowed"),
        (["GET", "/a", "-H", "Content-Length: x"], 400, "malformed_request"),
    ],
)
def test_explain_of_what_is_refused(
    run: Callable[..., Run], arguments: list[str], status: int, code: str
) -> None:
    refusal = run("routes", "explain", *arguments, "--json").json()["refusal"]
    assert (refusal["status"], refusal["code"]) == (status, code)
    assert f"refused: {status} {code}" in run("routes", "explain", *arguments).out


def test_explain_of_what_no_route_takes(run: Callable[..., Run], only_orders: None) -> None:
    text = run("routes", "explain", "GET", "/nowhere").out
    assert "refused: 404 route_not_found" in text
    assert "1 routes have another path or host (--all lists them)" in text
    text = run("routes", "explain", "DELETE", "http://api.example.org/orders/7").out
    assert "refused: 405 method_not_allowed Allow: GET, HEAD" in text
    assert "orders  method: takes GET, HEAD" in text


def test_explain_of_a_preflight(run: Callable[..., Run], only_orders: None) -> None:
    fields = ["-H", "Origin: https://app.test", "-H", "Access-Control-Request-Method: GET"]
    explained = run(
        "routes", "explain", "OPTIONS", "http://api.example.org/orders/7", *fields, "--json"
    ).json()
    assert explained["preflight"]
    assert explained["route"] == "orders"


def test_explain_as_text_puts_services_with_the_same_filters_together(
    run: Callable[..., Run], only_orders: None
) -> None:
    text = run("routes", "explain", "GET", "http://api.example.org/orders/7").out
    assert text.count("filters towards") == 1
    assert "filters towards origin, canary" in text
    assert "path parameter id: 7" in text


def test_explain_lists_far_routes_when_asked(run: Callable[..., Run]) -> None:
    assert not re.search(r"\bold\b", run("routes", "explain", "GET", "/x").out)
    assert re.search(r"\bold\b", run("routes", "explain", "GET", "/x", "--all").out)


@pytest.mark.parametrize("check", [_check_url, lambda _, text: _check_header(_, (f"X: {text}",))])
def test_what_is_not_utf8_is_no_request(check: Callable[[object, str], None]) -> None:
    # Not by the command: pytest cannot capture what it says.
    with pytest.raises(ValueError, match="expected UTF-8"):
        check(str, "/a\udcff")
