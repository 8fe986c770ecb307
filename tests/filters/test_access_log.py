"""access_log: what a line says, and what it must not say."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gatewayd import Exchange, Headers, Peer, Principal, Reject, Response
from gatewayd.testing import FakeClock, Recorder, in_memory, make_exchange
from gatewayd_filters.access_log import AccessLogConfig
from gatewayd_filters.access_log.json_lines import JsonLines
from gatewayd_filters.access_log.redaction import LONGEST, Redaction
from gatewayd_filters.access_log.text_lines import TextLines
from tests.support.access_logs import configured, ended, logged

if TYPE_CHECKING:
    from pathlib import Path

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
COMBINED = re.compile(
    r"(?P<address>\S+) - (?P<user>\S+)"
    r" \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\]"
    r' "(?P<request>[^"]*)" (?P<status>\d{3}) (?P<size>\d+) "(?P<referer>[^"]*)"'
    r' "(?P<agent>[^"]*)" (?P<id>\S+) (?P<route>\S+) (?P<seconds>\d+\.\d{6}) (?P<reason>\S+)\n'
)
BOTH_FORMS = [
    pytest.param(partial(JsonLines, clock=FakeClock()), id="json"),
    pytest.param(TextLines, id="text"),
]
SECRETS = ["Authorization", "Proxy-Authorization", "Cookie", "X-API-Key"]


def failing(exchange: Exchange, error: BaseException | None) -> Exchange:
    exchange.error = error
    exchange.ended_at = exchange.received_at
    return exchange


def as_json(
    exchange: Exchange, error: BaseException | None = None, **settings: Any
) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(
        JsonLines(AccessLogConfig(**settings), FakeClock()).lines([failing(exchange, error)])
    )
    return line


def as_text(
    exchange: Exchange, error: BaseException | None = None, **settings: Any
) -> dict[str, str]:
    line = TextLines(AccessLogConfig(**settings)).lines([failing(exchange, error)])
    found = COMBINED.fullmatch(line.decode("ascii"))
    assert found is not None, line
    return found.groupdict()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("http.request.method", "POST"),
        ("url.path", "/items/7"),
        ("url.query", "q=1"),
        ("url.scheme", "http"),
        ("server.address", "gateway.example"),
        ("network.protocol.version", "1.1"),
        ("client.address", "192.0.2.1"),
        ("user_agent.original", "curl/8"),
        ("http.request.body.size", 4),
        ("http.response.status_code", 200),
        ("http.response.body.size", 0),
        ("http.route", "/items/{id}"),
        ("gatewayd.route", "item"),
        ("gatewayd.service", "shop"),
    ],
)
async def test_tells_of_the_exchange(tmp_path: Path, field: str, value: object) -> None:
    headers = {"User-Agent": "curl/8"}
    (line,) = await logged(tmp_path, "/items/7?q=1", method="POST", headers=headers, body=b"ping")
    assert line[field] == value


async def test_tells_of_the_attempts_at_instances(tmp_path: Path) -> None:
    def answer(exchange: Exchange) -> Response:
        exchange.attempts, exchange.upstream_seconds = 2, 0.25
        return Response(200)

    (line,) = await logged(tmp_path, upstream=Recorder(answer))
    fields = ("gatewayd.instance", "gatewayd.attempts", "gatewayd.upstream.duration")
    assert [line[field] for field in fields] == ["http://127.0.0.1:9", 2, 0.25]


async def test_what_went_to_no_instance_tells_of_none(tmp_path: Path) -> None:
    (line,) = await logged(tmp_path, "/nowhere")
    assert not {"gatewayd.instance", "gatewayd.attempts", "gatewayd.service"} & line.keys()


async def test_the_duration_ends_with_the_exchange(tmp_path: Path) -> None:
    clock = FakeClock()

    def answer(exchange: Exchange) -> Response:
        clock.advance(0.125)
        return Response(200)

    (line,) = await logged(tmp_path, upstream=Recorder(answer), clock=clock)
    assert line["http.server.request.duration"] == 0.125


async def test_the_request_id_is_that_of_the_exchange(tmp_path: Path) -> None:
    upstream = Recorder()
    (line,) = await logged(tmp_path, upstream=upstream)
    assert line["gatewayd.request.id"] == upstream.exchanges[0].id


async def test_the_trace_is_that_of_the_upstream_request(tmp_path: Path) -> None:
    upstream = Recorder()
    sent = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-00"}
    (line,) = await logged(tmp_path, headers=sent, upstream=upstream)
    expected = upstream.request.headers.get("traceparent")
    assert line["trace_id"] == TRACE_ID
    assert f"00-{line['trace_id']}-{line['span_id']}-00" == expected


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [("/nowhere", 404, "route_not_found"), ("/items/7", 403, "forbidden_here")],
)
async def test_refusals_carry_the_code_of_their_problem(
    tmp_path: Path, target: str, status: int, code: str
) -> None:
    upstream = Recorder(Reject(403, "forbidden_here"))
    (line,) = await logged(tmp_path, target, upstream=upstream)
    assert (line["http.response.status_code"], line["error.type"]) == (status, code)


async def test_what_succeeds_has_no_error_type(tmp_path: Path) -> None:
    (line,) = await logged(tmp_path)
    assert "error.type" not in line


async def test_a_failure_of_the_gateway_is_told_as_the_problem(tmp_path: Path) -> None:
    (line,) = await logged(tmp_path, upstream=Recorder(RuntimeError("a bug")))
    assert (line["http.response.status_code"], line["error.type"]) == (500, "internal_error")


def test_an_exchange_without_a_response_is_the_client_s_leaving() -> None:
    line = as_json(make_exchange(), ConnectionResetError("gone"))
    assert line["http.response.status_code"] == 499
    assert line["error.type"] == "ConnectionResetError"


def test_a_response_that_was_broken_off_keeps_its_status() -> None:
    line = as_json(ended(make_exchange()), asyncio.CancelledError())
    assert (line["http.response.status_code"], line["error.type"]) == (200, "CancelledError")


def test_bytes_sent_are_told() -> None:
    exchange = ended(make_exchange())
    exchange.sent = 12_345
    assert as_json(exchange)["http.response.body.size"] == 12_345


def test_the_caller_is_told_by_id() -> None:
    principal = Principal("ada", "jwt", email="ada@example.org")
    exchange = ended(make_exchange(values={"principal": principal}))
    assert as_json(exchange)["enduser.id"] == "ada"
    assert as_text(exchange)["user"] == "ada"


def test_the_scheme_is_the_client_s() -> None:
    exchange = ended(make_exchange(peer=Peer("2001:db8::1", scheme="https")))
    line = as_json(exchange)
    assert (line["url.scheme"], line["client.address"]) == ("https", "2001:db8::1")


def test_timestamps_are_rfc_3339() -> None:
    line = as_json(ended(make_exchange()))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])


def test_lines_of_one_report_have_each_its_own_millisecond() -> None:
    exchanges = [ended(make_exchange(received_at=1000.0 + seconds)) for seconds in (0, 0.1, 2.5)]
    lines = JsonLines(AccessLogConfig(), FakeClock()).lines(exchanges).splitlines()
    first, *others = (datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines)
    after = [(other - first).total_seconds() for other in others]
    assert after == pytest.approx([0.1, 2.5], abs=0.0011)


def test_fields_that_are_listed_are_shown() -> None:
    answer = Headers.of([("X-Cache", "hit")])
    exchange = ended(make_exchange(headers={"X-Tenant": "seven"}), headers=answer)
    line = as_json(exchange, request_headers=["X-Tenant"], response_headers=["x-cache"])
    assert line["http.request.header.x-tenant"] == "seven"
    assert line["http.response.header.x-cache"] == "hit"


def test_fields_that_are_not_listed_are_not_shown() -> None:
    exchange = ended(make_exchange(headers={"X-Tenant": "seven"}))
    assert not [name for name in as_json(exchange) if "header" in name]


def test_fields_that_are_absent_are_left_out() -> None:
    line = as_json(ended(make_exchange()), request_headers=["X-Tenant"])
    assert "http.request.header.x-tenant" not in line


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_fields_with_credentials_are_never_shown(name: str, spelling: Any) -> None:
    exchange = ended(make_exchange())
    exchange.request.headers = Headers.of_lines([(name.encode(), b"s3cret")])
    line = as_json(exchange, request_headers=[spelling(name)])
    assert line[f"http.request.header.{name.lower()}"] == "[redacted]"


def test_cookies_that_are_set_are_never_shown() -> None:
    exchange = ended(make_exchange(), headers=Headers.of([("Set-Cookie", "s=s3cret")]))
    line = as_json(exchange, response_headers=["Set-Cookie"])
    assert line["http.response.header.set-cookie"] == "[redacted]"


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize("mark", ["?", "#"])
def test_credentials_in_a_redirect_are_never_shown(name: str, mark: str) -> None:
    url = f"https://app.example/cb{mark}access_token=s3cret&state=1"
    line = as_json(
        ended(make_exchange(), headers=Headers.of([(name, url)])), response_headers=[name]
    )
    shown = f"https://app.example/cb{mark}access_token=[redacted]&state=1"
    assert line[f"http.response.header.{name.lower()}"] == shown


def test_fields_to_redact_can_be_named() -> None:
    exchange = ended(make_exchange(headers={"X-Session": "s3cret"}))
    line = as_json(exchange, request_headers=["X-Session"], redact_headers=["x-SESSION"])
    assert line["http.request.header.x-session"] == "[redacted]"


@pytest.mark.parametrize("name", ["Referer", "User-Agent"])
@pytest.mark.parametrize("lines", BOTH_FORMS)
def test_fields_to_redact_are_shown_nowhere(name: str, lines: Any) -> None:
    exchange = ended(make_exchange(headers={name: "s3cret"}))
    config = AccessLogConfig(redact_headers=[name], request_headers=[name])
    assert b"s3cret" not in lines(config).lines([exchange])


REDACTED = [
    ("token=x", "token=[redacted]"),
    ("a=1&token=x&b=2", "a=1&token=[redacted]&b=2"),
    ("TOKEN=x", "TOKEN=[redacted]"),
    ("Api_Key=x", "Api_Key=[redacted]"),
    ("api-key=x", "api-key=[redacted]"),
    ("%74oken=x", "%74oken=[redacted]"),
    ("%54OKEN=x", "%54OKEN=[redacted]"),
    ("api%5fkey=x", "api%5fkey=[redacted]"),
    ("token=x&token=y", "token=[redacted]&token=[redacted]"),
    ("token=x=y", "token=[redacted]"),
    ("token=", "token=[redacted]"),
    ("&&token=x", "&&token=[redacted]"),
    ("session+id=x", "session+id=[redacted]"),
    ("session%20id=x", "session%20id=[redacted]"),
    ("Session%2Bid=x", "Session%2Bid=x"),
    ("token[]=x", "token[]=[redacted]"),
    ("token[a][b]=x", "token[a][b]=[redacted]"),
    ("user[Token]=x", "user[Token]=[redacted]"),
    ("users[0][api_key]=x", "users[0][api_key]=[redacted]"),
    ("user%5Btoken%5D=x", "user%5Btoken%5D=[redacted]"),
    ("users[token][0]=x", "users[token][0]=[redacted]"),
    ("users[token][]=x", "users[token][]=[redacted]"),
    ("user[token=x", "user[token=[redacted]"),
    ("bearer_token=x", "bearer_token=[redacted]"),
    ("Bearer-Token=x", "Bearer-Token=[redacted]"),
    ("client_secret=x", "client_secret=[redacted]"),
    ("user[new_password]=x", "user[new_password]=[redacted]"),
    ("X-Amz-Signature=x", "X-Amz-Signature=[redacted]"),
    # Of the value, for an origin that separates by & alone.
    ("token=se;cret&a=1", "token=[redacted]&a=1"),
    ("a=1;token=se;c=ret&b;c=2", "a=1;token=[redacted]&b;c=2"),
]
SHOWN = [
    "", "q=1", "tokens=x", "mytoken=x", "a[b]=x", "a[tokens]=x", "[]=x", "[=x", "token",
    "q=token", "q=token%3Dx", "%2574oken=x", "%zz=1", "to+ken=x",
]  # fmt: skip


@pytest.mark.parametrize(("query", "expected"), REDACTED)
def test_secret_parameters_are_hidden(query: str, expected: str) -> None:
    names = ("token", "api_key", "api-key", "session id")
    assert Redaction(names).query(query) == expected


@pytest.mark.parametrize("query", SHOWN)
def test_other_parameters_are_shown(query: str) -> None:
    assert Redaction(["token"]).query(query) == query


@pytest.mark.parametrize(
    "name",
    [
        "access_token", "accessToken", "api_key", "apiKey", "clientSecret", "code", "idToken",
        "password", "refreshToken", "secret", "signature", "token", "X-Goog-Signature",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["json", "text"])
async def test_the_usual_credentials_are_in_no_line(tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / "access.log"
    async with in_memory(configured(path, format=form)) as gateway:
        await gateway.send("GET", f"/items/7?{name}=s3cret&q=1")
    written = path.read_text()
    assert f"{name}=[redacted]&q=1" in written
    assert "s3cret" not in written


def test_parameters_to_redact_can_be_named() -> None:
    exchange = ended(make_exchange(target="/?Session=x&token=y&q=1"))
    line = as_json(exchange, redact_query=["session"])
    assert line["url.query"] == "Session=[redacted]&token=[redacted]&q=1"


def long_exchange(where: str) -> Exchange:
    text = "x" * 5000
    exchange = make_exchange(
        text if where == "method" else "GET",
        {"path": f"/{text}", "query": f"/?{text}"}.get(where, "/"),
        headers={"User-Agent": text if where == "agent" else "-", "X-Tenant": text},
        values={"principal": Principal(text if where == "principal" else "ada", "jwt")},
    )
    if where == "id":  # as another filter may have made it
        exchange.id = text
    return ended(exchange, headers=Headers.of([("X-Cache", text)]))


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ("path", "url.path"),
        ("query", "url.query"),
        ("agent", "user_agent.original"),
        ("request field", "http.request.header.x-tenant"),
        ("response field", "http.response.header.x-cache"),
        ("method", "http.request.method"),
        ("id", "gatewayd.request.id"),
        ("principal", "enduser.id"),
    ],
)
def test_long_values_are_cut_in_json(where: str, field: str) -> None:
    listed = {"request_headers": ["X-Tenant"], "response_headers": ["X-Cache"]}
    line = as_json(long_exchange(where), **listed)
    assert len(line[field]) <= LONGEST + len("[2952 more]")


@pytest.mark.parametrize(
    ("where", "field"),
    [("path", "request"), ("query", "request"), ("agent", "agent"), ("principal", "user")],
)
def test_long_values_are_cut_in_text(where: str, field: str) -> None:
    assert len(as_text(long_exchange(where))[field]) < LONGEST + 50


def test_a_cut_says_how_much_is_missing() -> None:
    exchange = ended(make_exchange(headers={"User-Agent": "x" * (LONGEST + 7)}))
    assert as_json(exchange)["user_agent.original"] == "x" * LONGEST + "[7 more]"


hostile = st.text(
    st.one_of(st.characters(max_codepoint=255), st.sampled_from("\r\n\0\x1b\x85\"'\\ ]")),
    max_size=40,
)
anything = st.text(
    st.one_of(
        st.characters(exclude_categories=()), st.sampled_from('\n\r\u2028\u2029\ud800\udfff"\\ ')
    ),
    max_size=40,
)


def hostile_exchange(path: str, query: str, field: str, who: str) -> Exchange:
    value = field.encode("latin-1")
    exchange = ended(make_exchange(values={"principal": Principal(who, "jwt")}))
    exchange.request.path, exchange.request.query = path, query
    exchange.request.headers = headers = Headers()
    for key in (b"user-agent", b"referer", b"x-tenant"):  # put() takes line ends as well
        headers.put(key, value, b"%b: %b\r\n" % (key, value))
    return exchange


@given(hostile, hostile, hostile, anything)
def test_json_is_one_line_that_parses(path: str, query: str, field: str, who: str) -> None:
    lines = JsonLines(AccessLogConfig(request_headers=("X-Tenant",)), FakeClock())
    line = lines.lines([hostile_exchange(path, query, field, who)])
    assert re.fullmatch(rb"[^\x00-\x1f]+\n", line)
    parsed = json.loads(line)
    assert (parsed["url.path"], parsed["http.request.header.x-tenant"]) == (path, field)
    assert parsed["user_agent.original"] == field


@given(hostile.map(lambda text: text.replace(" ", "")), hostile, hostile, anything)
def test_text_is_one_line_of_ascii_in_the_combined_format(
    path: str, query: str, field: str, who: str
) -> None:
    lines = TextLines(AccessLogConfig(format="text"))
    line = lines.lines([hostile_exchange(path, query, field, who)])
    assert re.fullmatch(rb"[\x20-\x7e]+\n", line)
    assert COMBINED.fullmatch(line.decode()) is not None


@pytest.mark.parametrize("lines", BOTH_FORMS)
def test_lone_surrogates_in_an_id_are_escaped(lines: Any) -> None:
    exchange = ended(make_exchange(values={"principal": Principal("a\ud800b", "jwt")}))
    assert b"d800b" in lines(AccessLogConfig()).lines([exchange])


def test_the_combined_format() -> None:
    headers = {"Referer": "https://example.org/", "User-Agent": "curl/8 (a b)"}
    exchange = ended(make_exchange("POST", "/items/7?q=1", headers=headers), 201)
    exchange.sent = 42
    found = as_text(exchange)
    del found["time"]
    assert found == {
        "address": "192.0.2.1",
        "user": "-",
        "request": "POST /items/7?q=1 HTTP/1.1",
        "status": "201",
        "size": "42",
        "referer": "https://example.org/",
        "agent": "curl/8 (a b)",
        "id": exchange.id,
        "route": "-",
        "seconds": "0.000000",
        "reason": "-",
    }


def kept(lines: JsonLines | TextLines) -> int:
    """Return how many bytes are kept of exchanges that have been logged."""
    memos = [one for one in vars(lines).values() if isinstance(one, dict)]
    return sum(sys.getsizeof(each) for memo in memos for item in memo.items() for each in item)


@pytest.mark.parametrize("lines", BOTH_FORMS)
@pytest.mark.parametrize("settings", [{}, {"redact_headers": ["User-Agent"]}])
@pytest.mark.parametrize("where", ["agent", "path", "user"])
def test_what_is_long_is_not_remembered(lines: Any, settings: Any, where: str) -> None:
    long = "x" * 5000
    exchange = ended(
        make_exchange(
            target=f"/{long}" if where == "path" else "/",
            headers={"User-Agent": long} if where == "agent" else {},
            values={"principal": Principal(long, "jwt")} if where == "user" else {},
        )
    )
    one = lines(AccessLogConfig(**settings))
    one.lines([exchange])
    assert kept(one) < 2000


@pytest.mark.parametrize("lines", BOTH_FORMS)
def test_what_is_remembered_is_bounded(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewayd_filters.access_log.text_lines._REMEMBERED", 10)
    one = lines(AccessLogConfig())
    for number in range(100):
        agent = {"User-Agent": str(number)}
        one.lines([ended(make_exchange(target=f"/{number}", headers=agent))])
    assert all(len(memo) <= 10 for memo in vars(one).values() if isinstance(memo, dict))


@pytest.mark.parametrize("lines", BOTH_FORMS)
def test_a_line_is_the_same_when_its_parts_are_remembered(lines: Any) -> None:
    principal = Principal('a d"a', "jwt")
    values = {"principal": principal}
    exchange = ended(make_exchange(target="/\u00e9", headers={"User-Agent": 'a"b'}, values=values))
    one = lines(AccessLogConfig())
    first, second = one.lines([exchange, exchange]).splitlines()
    assert first == second


async def test_text_names_route_and_refusal(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    upstream = Recorder(Reject(403, "forbidden_here"))
    async with in_memory(configured(path, format="text"), upstream=upstream) as gateway:
        await gateway.send("GET", "/items/7")
    found = COMBINED.fullmatch(path.read_text())
    assert found is not None
    assert (found["route"], found["status"], found["reason"]) == ("item", "403", "forbidden_here")


def test_text_tells_of_a_client_that_has_left() -> None:
    found = as_text(make_exchange(), ConnectionResetError("gone"))
    assert (found["status"], found["reason"]) == ("499", "ConnectionResetError")


def test_a_space_in_an_id_makes_no_further_column() -> None:
    exchange = ended(make_exchange(values={"principal": Principal("ada lovelace", "jwt")}))
    assert as_text(exchange)["user"] == "ada\\x20lovelace"


@pytest.mark.parametrize(
    "settings",
    [
        {"format": "xml"},
        {"path": ""},
        {"sample_ratio": 1.1},
        {"sample_ratio": -0.1},
        {"always": ["6xx"]},
        {"request_headers": ["X Tenant"]},
        {"redact_headers": [""]},
        {"exclude_paths": ["health"]},
        {"redact_query": [""]},
        {"queue_size": 99},
        {"interval": float("inf")},
        {"close_timeout": -1},
        {"unknown": 1},
    ],
)
def test_refuses_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AccessLogConfig.model_validate(settings)
