"""headers: fields that are set, added and removed, and values that a client has a hand in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from gatewayd import Headers, Peer, Principal, Reject, Response
from gatewayd.pipeline import link
from gatewayd.testing import Recorder, make_exchange, running
from gatewayd_filters.headers import HeaderRules, HeadersConfig


async def sent(rules: dict[str, object], **exchange: Any) -> list[tuple[str, str]]:
    """Return the fields that go upstream by these rules for the request, without Host."""
    upstream = Recorder()
    async with running(HeaderRules, {"request": rules}) as headers:
        await headers(make_exchange(**exchange), upstream)
    upstream.request.headers.remove("Host")
    return list(upstream.request.headers)


@pytest.mark.parametrize(
    ("rules", "before", "after"),
    [
        ({}, [("A", "1")], [("A", "1")]),
        ({"remove": ["a", "b"]}, [("A", "1"), ("C", "2"), ("A", "3")], [("C", "2")]),
        ({"set": {"a": "x"}}, [("A", "1"), ("C", "2"), ("A", "3")], [("C", "2"), ("a", "x")]),
        ({"add": {"A": "x"}}, [("A", "1")], [("A", "1"), ("A", "x")]),
        ({"add": {"A": ["x", "y"]}}, [], [("A", "x"), ("A", "y")]),
        (
            {"add": {"A": "3"}, "set": {"A": "2"}, "remove": ["B"]},
            [("A", "1"), ("B", "1")],
            [("A", "2"), ("A", "3")],
        ),
        ({"remove": ["A"], "add": {"A": "new"}}, [("A", "1")], [("A", "new")]),
    ],
)
async def test_removes_then_sets_then_adds(
    rules: dict[str, object], before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    assert await sent(rules, headers=before) == after


@pytest.mark.parametrize(
    ("rules", "claimed", "after"),
    [
        ({"set": {"X-Tenant": "acme"}}, "X_Tenant", [("X-Tenant", "acme")]),
        ({"set": {"X_Tenant": "acme"}}, "X-Tenant", [("X_Tenant", "acme")]),
        ({"set": {"X-Tenant-Id": "acme"}}, "x_tenant-id", [("X-Tenant-Id", "acme")]),
        ({"set": {"X-Tenant": "{params.tenant}"}}, "X_Tenant", []),
        ({"remove": ["X-Debug"]}, "X_DEBUG", []),
        ({"remove": ["X-Debug"]}, "X_Debugger", [("X_Debugger", "evil")]),
        ({"set": {"Tenant": "acme"}}, "X_Tenant", [("X_Tenant", "evil"), ("Tenant", "acme")]),
        ({"add": {"X-Tag": "a"}}, "X_Tag", [("X_Tag", "evil"), ("X-Tag", "a")]),
        (
            {"set": {"X-Tenant": "acme", "X_Tenant": "acme"}},
            "x_tenant",
            [("X-Tenant", "acme"), ("X_Tenant", "acme")],
        ),
    ],
)
async def test_no_other_spelling_takes_the_place_of_what_is_set_or_removed(
    rules: dict[str, object], claimed: str, after: list[tuple[str, str]]
) -> None:
    assert await sent(rules, headers=[(claimed, "evil")]) == after


async def test_changes_the_response() -> None:
    rules = {"remove": ["Server"], "set": {"X-Frame-Options": "DENY"}, "add": {"Via": "1.1 gw"}}
    answer = Response(200, Headers.of([("Server", "origin"), ("Via", "1.1 cache")]))
    async with running(HeaderRules, {"response": rules}) as headers:
        response = await headers(make_exchange(), Recorder(answer))
    assert list(response.headers) == [
        ("Via", "1.1 cache"),
        ("X-Frame-Options", "DENY"),
        ("Via", "1.1 gw"),
    ]


async def test_changes_refusals_of_later_filters() -> None:
    async with running(HeaderRules, {"response": {"set": {"X-Frame-Options": "DENY"}}}) as headers:
        response = await link([headers], Recorder(Reject(403, "forbidden")))(make_exchange())
    assert (response.status, response.headers.get("X-Frame-Options")) == (403, "DENY")


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("{params.id}", "42"),
        ("id={params.id};{request.method}", "id=42;PUT"),
        ("{{params.id}}", "{params.id}"),
        ("{{{params.id}}}", "{42}"),
        ("{request.path}", "/a%20b"),
        ("{request.host}", "api.example"),
        ("{request.scheme}", "https"),
        ("{client.ip}", "203.0.113.9"),
        ("{route.name}", "orders"),
        ("{service.name}", "order-service"),
    ],
)
async def test_values_come_from_the_exchange(template: str, value: str) -> None:
    fields = await sent(
        {"set": {"X": template}},
        method="PUT",
        target="/a%20b?q=1",
        host="api.example:8001",
        peer=Peer("203.0.113.9", scheme="https"),
        params={"id": "42"},
        values={
            "route": SimpleNamespace(name="orders"),
            "service": SimpleNamespace(name="order-service"),
        },
    )
    assert fields == [("X", value)]


ADA = Principal(
    id="ada",
    method="jwt",
    name="Ada L\u00f6w",
    email="ada@example.org",
    key_id="k1",
    claims={
        "tenant": "blue",
        "level": 3,
        "staff": True,
        "https://x.example/org": "o1",
        "list": [1],
    },
)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{principal.id}", "ada"),
        ("{principal.name}", "Ada L%C3%B6w"),
        ("{principal.email}", "ada@example.org"),
        ("{principal.key_id}", "k1"),
        ("{principal.method}", "jwt"),
        ("{principal.claims.tenant}/{principal.claims.level}", "blue/3"),
        ("{principal.claims.staff}", "true"),
        ("{principal.claims.https://x.example/org}", "o1"),
    ],
)
async def test_values_come_from_the_caller(template: str, value: str) -> None:
    assert await sent({"set": {"X": template}}, values={"principal": ADA}) == [("X", value)]


@pytest.mark.parametrize(
    ("template", "caller"),
    [
        ("{principal.id}", {}),
        ("{principal.claims.tenant}", {}),
        ("{principal.claims.none}", {"principal": ADA}),
        ("{principal.claims.list}", {"principal": ADA}),
        ("{principal.email}", {"principal": Principal(id="bo", method="jwt")}),
    ],
)
async def test_what_is_not_known_of_the_caller_leaves_no_field_of_the_client_s(
    template: str, caller: dict[Any, Any]
) -> None:
    fields = await sent({"set": {"X": template}}, headers={"X": "forged"}, values=caller)
    assert fields == []


async def test_a_claim_adds_no_line() -> None:
    evil = Principal(id="a", method="jwt", claims={"t": "x\r\nX-User-Id: root\ud800"})
    fields = await sent({"set": {"X": "{principal.claims.t}"}}, values={"principal": evil})
    assert fields == [("X", "x%0D%0AX-User-Id: root%3F")]


async def test_the_request_id_is_a_value() -> None:
    upstream = Recorder()
    async with running(HeaderRules, {"request": {"set": {"X": "{request.id}"}}}) as headers:
        await headers(make_exchange(), upstream)
    assert upstream.request.headers.get("X") == upstream.exchanges[0].id


@pytest.mark.parametrize(
    "template", ["{params.id}", "a-{params.id}", "{route.name}", "{service.name}"]
)
async def test_an_absent_value_leaves_no_field_of_the_client_s(template: str) -> None:
    assert await sent({"set": {"X": template}}, headers={"X": "forged"}) == []


async def test_an_absent_value_adds_nothing() -> None:
    rules = {"add": {"X": ["{params.id}", "here"]}}
    assert await sent(rules, headers={"X": "1"}) == [("X", "1"), ("X", "here")]


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("a\r\nX-Admin: 1", "a%0D%0AX-Admin: 1"),
        ("a\x00b", "a%00b"),
        ("a\tb", "a%09b"),
        ("\x7f", "%7F"),
        ("caf\xe9", "caf%C3%A9"),
        ("日", "%E6%97%A5"),
        ("\ud800", "%3F"),
        ("50%", "50%"),
        (" padded ", "padded"),
        ("", ""),
        ("{request.id}", "{request.id}"),
    ],
)
async def test_what_a_client_chooses_is_made_harmless(param: str, value: str) -> None:
    assert await sent({"set": {"X": "{params.p}"}}, params={"p": param}) == [("X", value)]


@pytest.mark.parametrize("part", ["request", "response"])
@pytest.mark.parametrize("rule", [{"remove": ["X"]}, {"set": {"X": ""}}, {"add": {"X": ["", ""]}}])
@pytest.mark.parametrize(
    "name",
    ["Connection", "content-length", "Transfer-Encoding", "Host", "Upgrade", "TE", "Trailer",
     "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Expect", "X Y", ""],
)  # fmt: skip
def test_refuses_fields_that_rules_must_not_touch(
    part: str, rule: dict[str, Any], name: str
) -> None:
    renamed = {
        verb: [name] if verb == "remove" else {name: value["X"]} for verb, value in rule.items()
    }
    with pytest.raises(ValidationError):
        HeadersConfig.model_validate({part: renamed})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{params}", "unknown value {params}"),
        ("{params.}", "unknown value {params.}"),
        ("{principal}", "unknown value {principal}"),
        ("{principal.claims}", "unknown value {principal.claims}"),
        ("{principal.claims.}", "unknown value {principal.claims.}"),
        ("{request.idd}", "did you mean request.id?"),
        ("{nothing}", "known are request.id"),
        ("{}", "unknown value {}"),
        ("{params.id", "written twice"),
        ("params.id}", "written twice"),
        ("a\r\nb", "printable ASCII"),
        ("caf\xe9", "printable ASCII"),
    ],
)
def test_refuses_templates_that_cannot_work(template: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HeadersConfig.model_validate({"request": {"set": {"X": template}}})
    assert message in str(caught.value)
