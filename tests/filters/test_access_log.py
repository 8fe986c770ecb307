from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import (
    INSTANCE,
    PRINCIPAL,
    ConfigError,
    Exchange,
    Filter,
    Principal,
    Reject,
    Request,
    Response,
)
from gatewayd.testing import (
    FakeClock,
    in_memory,
    make_exchange,
    make_gateway,
    make_service,
    running,
)
from gatewayd_filters.access_log import AccessLog, AccessLogConfig
from gatewayd_filters.access_log.lines import JsonLines, TextLines
from gatewayd_filters.access_log.redaction import LONGEST, Redaction

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gatewayd import Forward

CONFIG = """
pipeline.filters = ["request_id", "access_log", "tracing", "route_match", "balancer", "upstream"]
filters.access_log = {{ path = "{path}"{settings} }}
services.origin.instances = [{{ url = "http://127.0.0.1:9" }}]
routes = [{{ name = "items", path = "/items/{{id}}", service = "origin" }}]
"""
COMBINED = re.compile(
    r'(?P<client>\S+) - (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3}) '
    r'(?P<size>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" (?P<id>\S+) (?P<route>\S+) '
    r"(?P<seconds>\d+\.\d{6}) (?P<error>\S+)\n"
)


async def logged(
    tmp_path: Path,
    target: str = "/items/7",
    *,
    headers: Mapping[str, str] | None = None,
    upstream: Forward | None = None,
    settings: str = "",
    body: bytes = b"",
) -> list[str]:
    """Send a request through a gateway; returns the lines of its access log."""
    file = tmp_path / "access.log"
    config = CONFIG.format(path=file, settings=settings and f", {settings}")
    async with in_memory(config, upstream=upstream) as gateway:
        await gateway.send("GET", target, headers=headers or {}, body=body)
    return file.read_text().splitlines()


async def one(tmp_path: Path, target: str = "/items/7", **given: Any) -> dict[str, Any]:
    (line,) = await logged(tmp_path, target, **given)
    parsed: dict[str, Any] = json.loads(line)
    return parsed


async def test_tells_of_the_exchange_in_the_names_of_opentelemetry(tmp_path: Path) -> None:
    line = await one(tmp_path, headers={"User-Agent": "curl/8"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert re.fullmatch("[0-9a-f]{24}", line.pop("gatewayd.request.id"))
    assert re.fullmatch("[0-9a-f]{32}", line.pop("trace_id"))
    assert re.fullmatch("[0-9a-f]{16}", line.pop("span_id"))
    assert line == {
        "http.request.method": "GET",
        "url.path": "/items/7",
        "url.scheme": "http",
        "server.address": "gateway.example",
        "network.protocol.version": "1.1",
        "client.address": "192.0.2.1",
        "http.response.status_code": 200,
        "http.response.body.size": 0,
        "http.server.request.duration": 0.0,
        "user_agent.original": "curl/8",
        "http.route": "/items/{id}",
        "gatewayd.route": "items",
        "gatewayd.service": "origin",
    }


async def test_names_the_trace_that_the_upstream_is_told(tmp_path: Path) -> None:
    told: list[str] = []

    async def upstream(exchange: Exchange) -> Response:
        told.append(exchange.request.headers.get("traceparent") or "")
        return Response(200)

    line = await one(tmp_path, upstream=upstream)
    assert told == [f"00-{line['trace_id']}-{line['span_id']}-00"]


async def test_tells_why_it_was_refused(tmp_path: Path) -> None:
    line = await one(tmp_path, "/nowhere")
    assert (line["http.response.status_code"], line["error.type"]) == (404, "route_not_found")
    assert "gatewayd.route" not in line


async def test_tells_the_code_of_our_own_failure(tmp_path: Path) -> None:
    async def upstream(_: Exchange) -> Response:
        raise RuntimeError("broken")

    line = await one(tmp_path, upstream=upstream)
    assert (line["http.response.status_code"], line["error.type"]) == (500, "internal_error")


def line_of(exchange: Exchange, error: BaseException | None = None, **settings: Any) -> Any:
    lines = JsonLines(AccessLogConfig.model_validate(settings), FakeClock())
    written = lines.line(exchange, error)
    assert written.count(b"\n") == 1
    return json.loads(written)


def ended(status: int = 200, **given: Any) -> Exchange:
    exchange = make_exchange(**given)
    exchange.response = Response(status)
    return exchange


def test_tells_of_attempts() -> None:
    (instance,) = make_service("origin", "http://127.0.0.1:9").available
    exchange = ended(values={INSTANCE: instance})
    exchange.attempts, exchange.upstream_seconds = 2, 0.25
    line = line_of(exchange)
    assert line["gatewayd.instance"] == "http://127.0.0.1:9"
    assert (line["gatewayd.attempts"], line["gatewayd.upstream.duration"]) == (2, 0.25)


def test_tells_who_called() -> None:
    principal = Principal(id="ada", method="jwt")
    assert line_of(ended(values={PRINCIPAL: principal}))["enduser.id"] == "ada"


def test_tells_how_much_was_sent_and_received() -> None:
    exchange = ended(body=b"12345")
    exchange.sent = 7
    line = line_of(exchange)
    assert (line["http.request.body.size"], line["http.response.body.size"]) == (5, 7)


def test_a_client_that_left_has_the_status_of_nginx() -> None:
    line = line_of(make_exchange(), ConnectionResetError())
    assert line["http.response.status_code"] == 499
    assert line["error.type"] == "ConnectionResetError"


def test_tells_header_fields_that_are_asked_for() -> None:
    exchange = ended(headers={"Referer": "there"})
    assert exchange.response is not None
    exchange.response.headers.set("Server", "nginx")
    line = line_of(exchange, request_headers=["referer", "X-Absent"], response_headers=["Server"])
    assert line["http.request.header.referer"] == "there"
    assert line["http.response.header.server"] == "nginx"
    assert "http.request.header.x-absent" not in line


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-API-Key", "Set-Cookie", "X-Mine"])
def test_secret_fields_are_not_shown_even_where_asked_for(name: str) -> None:
    line = line_of(
        ended(headers={name: "secret-value"}), request_headers=[name], redact_headers=["x-mine"]
    )
    assert line[f"http.request.header.{name.lower()}"] == "[redacted]"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("a=1", "a=1"),
        ("token=x", "token=[redacted]"),
        ("a=1&token=x&b=2", "a=1&token=[redacted]&b=2"),
        ("TOKEN=x", "TOKEN=[redacted]"),
        ("%74oken=x", "%74oken=[redacted]"),
        ("token=x&token=y", "token=[redacted]&token=[redacted]"),
        ("token=", "token=[redacted]"),
        ("token", "token"),
        ("tokens=x", "tokens=x"),
        ("mine=x", "mine=[redacted]"),
        ("", ""),
        ("&&=", "&&="),
    ],
)
def test_secret_parameters_are_not_shown(query: str, shown: str) -> None:
    assert Redaction(["token", "Mine"]).query(query) == shown


async def test_a_key_in_the_query_is_not_logged(tmp_path: Path) -> None:
    line = await one(tmp_path, "/items/7?api_key=gw_secret&page=2")
    assert line["url.query"] == "api_key=[redacted]&page=2"


def test_long_values_are_cut_and_say_so() -> None:
    exchange = ended()
    exchange.request.path = "/" + "x" * 5000
    line = line_of(exchange)
    assert len(line["url.path"]) < LONGEST + 30
    assert line["url.path"].endswith("more]")


def test_text_that_is_no_text_is_written_all_the_same() -> None:
    principal = Principal(id="a\ud800b", method="jwt")
    assert line_of(ended(values={PRINCIPAL: principal}))["enduser.id"] == "a\\ud800b"


HOSTILE = st.text(st.characters(max_codepoint=255), max_size=60)


@given(path=HOSTILE, agent=HOSTILE, query=HOSTILE, user=st.text(max_size=20))
def test_nobody_forges_a_line(path: str, agent: str, query: str, user: str) -> None:
    exchange = Exchange(Request("GET", path, query), received_at=0.0, id="id")
    exchange.request.headers.extend([(b"User-Agent", agent.encode("latin-1"))])
    exchange.response = Response(200)
    exchange[PRINCIPAL] = Principal(id=user, method="jwt")
    assert line_of(exchange)["url.path"] == path
    text = TextLines(AccessLogConfig(), FakeClock()).line(exchange, None).decode()
    assert text.count("\n") == 1
    assert COMBINED.fullmatch(text)


async def test_the_text_format_is_the_combined_one(tmp_path: Path) -> None:
    headers = {"User-Agent": "curl/8", "Referer": "https://a.example/"}
    (line,) = await logged(
        tmp_path, "/items/7?token=x", headers=headers, settings='format = "text"'
    )
    found = COMBINED.fullmatch(line + "\n")
    assert found is not None
    assert found["request"] == "GET /items/7?token=[redacted] HTTP/1.1"
    assert (found["client"], found["user"], found["status"]) == ("192.0.2.1", "-", "200")
    assert (found["referer"], found["agent"]) == ("https://a.example/", "curl/8")
    assert (found["route"], found["error"]) == ("items", "-")


@pytest.mark.parametrize(
    ("target", "settings", "count"),
    [
        ("/items/7", "sample_ratio = 0", 0),
        ("/nowhere", "sample_ratio = 0", 1),
        ("/nowhere", 'sample_ratio = 0, always = ["5xx"]', 0),
        ("/items/7", 'exclude_paths = ["/items/7"]', 0),
        ("/items/8", 'exclude_paths = ["/items/7"]', 1),
        ("/nowhere", 'exclude_paths = ["/nowhere"]', 1),
    ],
)
async def test_what_is_logged_can_be_chosen(
    tmp_path: Path, target: str, settings: str, count: int
) -> None:
    assert len(await logged(tmp_path, target, settings=settings)) == count


async def test_a_destination_that_cannot_be_opened_is_an_error_of_the_configuration(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"filters\.access_log\.path: .*No such file"):
        await logged(tmp_path / "nowhere")


async def test_a_reload_with_the_same_settings_keeps_the_destination(tmp_path: Path) -> None:
    gateway = make_gateway()
    settings = {"path": str(tmp_path / "access.log")}
    async with (
        running(AccessLog, settings, gateway=gateway) as first,
        running(AccessLog, settings, gateway=gateway) as second,
    ):
        assert destination(first) is destination(second)
    for failure in await gateway.close():
        raise failure


def destination(one: Filter[Any]) -> object:
    return vars(one)["_destination"]


async def test_lost_lines_are_counted() -> None:
    gateway = make_gateway()
    async with running(AccessLog, {"path": "/dev/full"}, gateway=gateway) as log:
        exchange = ended()
        await log(exchange, answer)
        exchange.finish()
    for failure in await gateway.close():
        raise failure
    dropped = gateway.metrics.counter("gatewayd_access_log_dropped_lines", "", ("reason",))
    assert dropped.labels("failed").value == 1


async def answer(_: Exchange) -> Response:
    return Response(200)


def test_a_refusal_with_a_code_of_its_own_is_quoted() -> None:
    exchange = ended(403)
    exchange.refusal = Reject(403, 'odd"code', "")
    assert line_of(exchange)["error.type"] == 'odd"code'
