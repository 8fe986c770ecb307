"""The admin API over sockets: with one process, and with a supervisor and two workers."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gatewayd.admin.client import AdminClient, AdminError
from gatewayd.config.load import load
from tests.admin.conftest import CONFIG, Node, running_node
from tests.support.process import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_says_that_it_lives(node: Node) -> None:
    assert node.ask("GET", "/health").json == {"status": "ok"}


def test_says_that_it_is_ready(node: Node) -> None:
    answer = node.ask("GET", "/ready")
    assert answer.status == 200
    assert answer.json["status"] == "ready"
    assert {one["status"] for one in answer.json["workers"]} == {"ready"}


def test_tells_what_runs(node: Node) -> None:
    status = node.ask("GET", "/v1/status").json
    assert status["pid"] == node.process.pid
    assert sorted(one["pid"] for one in status["workers"]) == node.process.worker_pids
    assert {one["digest"] for one in status["workers"]} == {status["digest"]}
    assert all(not one["error"] for one in status["workers"])


def test_tells_the_routes_with_their_places(node: Node) -> None:
    routes = node.ask("GET", "/v1/routes").json
    assert [route["name"] for route in routes] == ["items", "away"]
    line = CONFIG.splitlines().index('name = "items"')
    assert routes[0]["place"].endswith(f"gateway.toml:{line}")
    assert node.ask("GET", "/v1/routes/items").json == routes[0]


def test_tells_the_services_with_their_instances(node: Node) -> None:
    services = {one["name"]: one for one in node.ask("GET", "/v1/services").json}
    (instance,) = services["origin"]["instances"]
    assert instance["available"] == services["origin"]["workers"]
    assert instance["ejected_for"] == 0
    assert node.ask("GET", "/v1/services/origin").json["instances"][0]["url"] == instance["url"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/routes/nothing", 404, "not_found"),
        ("GET", "/v1/services/nothing", 404, "not_found"),
        ("GET", "/v1/explain/nothing", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/v1/status", 405, "method_not_allowed"),
        ("GET", "/v1/reload", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there(node: Node, method: str, path: str, status: int, code: str) -> None:
    answer = node.ask(method, path)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/drain", b"{", 400),
        ("/v1/drain", {}, 422),
        ("/v1/drain", {"draining": True, "more": 1}, 422),
        ("/v1/drain", [], 422),
        ("/v1/log-level", {"logger": "root", "level": "info"}, 422),
        ("/v1/log-level", {"logger": "gatewayd.nothing", "level": "info"}, 404),
        ("/v1/drain", {"draining": 1}, 422),
        ("/v1/log-level", {"logger": "gatewayd", "level": "loud"}, 422),
        ("/v1/drain", b"x" * 70_000, 413),
    ],
)
def test_bodies_that_say_nothing_useful(node: Node, path: str, body: Any, status: int) -> None:
    assert node.ask("PUT", path, body).status == status


def test_a_logger_that_is_not_there_is_refused_with_those_that_are(node: Node) -> None:
    answer = node.ask("PUT", "/v1/log-level", {"logger": "gatewayd.retry", "level": "debug"})
    assert answer.status == 404
    assert "gatewayd.server" in answer.json["detail"]


def test_a_logger_that_only_the_supervisor_has_can_be_changed(node: Node) -> None:
    body = {"logger": "gatewayd.admin", "level": "info"}
    assert node.ask("PUT", "/v1/log-level", body).status == 200


def test_bodies_are_json(node: Node) -> None:
    answer = node.ask("PUT", "/v1/drain", b"draining=1", {"Content-Type": "text/plain"})
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "attacker.example"},
        {"Host": "attacker.example:8002"},
        {"Host": ""},
    ],
)
def test_what_a_web_page_could_send_is_refused(node: Node, headers: dict[str, str]) -> None:
    answer = node.ask("POST", "/v1/reload", headers=headers)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:8002"])
def test_names_of_this_machine_are_taken(node: Node, host: str) -> None:
    assert node.ask("GET", "/health", headers={"Host": host}).status == 200


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_the_page_of_metrics_is_read_by_the_official_parser(node: Node, accept: str) -> None:
    node.get("/items")
    answer = node.ask("GET", "/metrics", headers={"Accept": accept})
    families: Any = list((parse_openmetrics if accept else parse_text)(answer.text))
    samples = {
        (one.name, one.labels.get("route")): one.value
        for family in families
        for one in family.samples
    }
    assert samples["gatewayd_requests_total", "items"] >= 1
    assert samples["gatewayd_request_seconds_count", "items"] >= 1
    assert len(families) > 40


def test_tells_of_traffic(node: Node) -> None:
    before = node.ask("GET", "/v1/traffic").json
    known = {one["route"]: one["requests"] for one in before["routes"]}
    for path in ("/items", "/items", "/nowhere"):
        node.get(path)
    traffic = node.ask("GET", "/v1/traffic").json
    routes = {one["route"]: one for one in traffic["routes"]}
    assert routes["items"]["requests"] == known.get("items", 0) + 2
    assert routes[""]["refused"] >= 1
    assert {one["service"] for one in traffic["services"]} >= {"origin"}


def test_explains_a_described_request(node: Node) -> None:
    body = {"method": "GET", "target": "/items/7", "send": False}
    record = node.ask("POST", "/v1/explain", body).json["explanation"]
    assert record["route"] == "items"
    assert record["chains"][0]["filters"][0]["filter"] == "request_id"


def test_sends_a_described_request_and_explains_what_became_of_it(node: Node) -> None:
    body = {"target": "/items/7", "headers": {"X-A": "1"}, "send": True}
    record = node.ask("POST", "/v1/explain", body).json["explanation"]
    assert (record["route"]["name"], record["response"]["status"]) == ("items", 200)
    upstream = record["filters"][-1]
    assert (upstream["filter"], upstream["status"]) == ("upstream", 200)
    later = node.ask("GET", f"/v1/explain/{record['id']}").json["explanation"]
    assert later["filters"] == record["filters"]


def test_breakers_are_told_and_reset(node: Node) -> None:
    for _ in range(10):  # each worker has its own
        node.get("/away")
    breakers = [one for one in node.ask("GET", "/v1/breakers").json if one["service"] == "away"]
    assert {one["state"] for one in breakers} == {"open"}
    answer = node.ask("POST", "/v1/breakers/reset", {"service": "away"})
    assert answer.json["count"] == len(breakers)
    states = {
        one["state"] for one in node.ask("GET", "/v1/breakers").json if one["service"] == "away"
    }
    assert states == {"closed"}


def test_buckets_are_looked_at_and_filled(node: Node) -> None:
    for _ in range(5):
        assert node.get("/items").status == 200
    prefix = {"prefix": "route/items|"}
    before = node.ask("POST", "/v1/buckets/peek", prefix).json
    assert all(one["remaining"] < one["burst"] == 50 for one in before)
    assert node.ask("POST", "/v1/buckets/reset", prefix).json["count"] >= 1
    after = node.ask("POST", "/v1/buckets/peek", prefix).json
    assert all(one["remaining"] > 49.9 for one in after)


def test_looking_takes_nothing(node: Node) -> None:
    node.get("/items")
    first, second = (node.ask("POST", "/v1/buckets/peek", {"prefix": ""}).json for _ in range(2))
    assert [one["remaining"] for one in second] >= [one["remaining"] for one in first]


def test_an_unknown_token_is_no_bucket(node: Node) -> None:
    assert node.ask("POST", "/v1/buckets/peek", {"prefix": "nobody"}).json == []


def test_a_reload_takes_a_new_configuration(own_node: Node) -> None:
    before = own_node.ask("GET", "/v1/status").json["digest"]
    file = own_node.process.config_file
    file.write_text(file.read_text().replace('name = "items"', 'name = "renamed"'))
    digest = own_node.ask("POST", "/v1/reload").json["digest"]
    status = own_node.ask("GET", "/v1/status").json
    assert digest not in (before, "")
    assert {one["digest"] for one in status["workers"]} == {digest}
    assert own_node.ask("GET", "/v1/routes/renamed").status == 200


def test_a_configuration_that_is_refused_says_why(own_node: Node) -> None:
    before = own_node.ask("GET", "/v1/status").json["digest"]
    file = own_node.process.config_file
    file.write_text(file.read_text() + "\nnonsense = true\n")
    answer = own_node.ask("POST", "/v1/reload")
    assert (answer.status, answer.json["code"]) == (422, "reload_refused")
    assert "nonsense" in answer.json["detail"]
    assert own_node.ask("GET", "/v1/status").json["digest"] == before
    metrics = own_node.ask("GET", "/metrics").text
    assert 'gatewayd_reloads_total{result="failure"} 1' in metrics


def test_out_of_service_it_is_not_ready_and_serves_all_the_same(own_node: Node) -> None:
    own_node.ask("PUT", "/v1/drain", {"draining": True})
    assert own_node.ask("GET", "/ready").status == 503
    assert own_node.get("/ready").status == 503
    assert own_node.get("/items").status == 200
    own_node.ask("PUT", "/v1/drain", {"draining": False})
    assert own_node.get("/ready").status == 200


def test_out_of_service_stays_so_over_reloads_and_new_workers(own_node: Node) -> None:
    own_node.ask("PUT", "/v1/drain", {"draining": True})
    own_node.ask("POST", "/v1/reload")
    assert own_node.ask("GET", "/ready").status == 503
    kill_worker(own_node)
    assert {one["status"] for one in own_node.ask("GET", "/ready").json["workers"]} == {"draining"}


def kill_worker(node: Node) -> None:
    """Kill a worker, and wait until another one serves in its place."""
    victim = node.process.worker_pids[0]
    os.kill(victim, signal.SIGKILL)

    def replaced() -> bool:
        workers = node.ask("GET", "/v1/status").json["workers"]
        pids = [one["pid"] for one in workers]
        return victim not in pids and all(not one["error"] for one in workers)

    wait_until(replaced, 20, "another worker")


def test_counters_do_not_go_back_where_a_worker_is_killed(own_node: Node) -> None:
    for _ in range(20):
        own_node.get("/items")
    before = requests_of(own_node)
    kill_worker(own_node)
    assert requests_of(own_node) == before
    own_node.get("/items")
    assert requests_of(own_node) == before + 1
    assert "gatewayd_worker_restarts_total 1" in own_node.ask("GET", "/metrics").text


def test_gauges_of_a_killed_worker_are_gone_before_another_one_serves(own_node: Node) -> None:
    running = workers_shown(own_node)
    os.kill(own_node.process.worker_pids[0], signal.SIGKILL)
    wait_until(lambda: len(workers_shown(own_node)) == len(running) - 1, 20, "the gauges' end")
    wait_until(lambda: workers_shown(own_node) == running, 20, "another worker")


def workers_shown(node: Node) -> set[str]:
    page: Any = parse_text(node.ask("GET", "/metrics").text)
    return {
        one.labels["worker"]
        for family in page
        for one in family.samples
        if one.name == "gatewayd_worker_resident_memory_bytes"
    }


def requests_of(node: Node) -> float:
    page: Any = parse_text(node.ask("GET", "/metrics").text)
    return sum(
        one.value
        for family in page
        for one in family.samples
        if one.name == "gatewayd_requests_total" and one.labels["route"] == "items"
    )


def test_the_level_of_a_logger_changes_in_all_workers(own_node: Node) -> None:
    assert "malformed" not in own_node.process.log
    own_node.ask("PUT", "/v1/log-level", {"logger": "gatewayd.server", "level": "debug"})
    for _ in range(20):  # the kernel chooses the worker
        with socket.create_connection(("127.0.0.1", own_node.process.port)) as sock:
            sock.sendall(b"NONSENSE\r\n\r\n")
            sock.recv(1000)
    own_node.process.wait_for_log("refused")
    lines = [line for line in own_node.process.log.splitlines() if "DEBUG" in line]
    assert len({line.partition("[")[2].partition("]")[0] for line in lines}) == 2


def test_what_is_changed_is_in_the_audit_trail(own_node: Node) -> None:
    changes = {
        "/v1/drain": {"draining": False},
        "/v1/log-level": {"logger": "gatewayd.server", "level": "debug"},
    }
    for path, body in changes.items():
        own_node.ask("PUT", path, body)
        own_node.process.wait_for_log(f'"path":"{path}"')
    lines = [one for one in own_node.process.log.splitlines() if '"action":"admin"' in one]
    rows = [json.loads(line[line.index("{") :]) for line in lines]
    assert {row["path"]: row["detail"] for row in rows} == changes
    assert {row["outcome"] for row in rows} == {"success"}


TOKEN = "of-the-tests-0123456789"
WITH_TOKEN = CONFIG.replace("[filters.auth]", f'token = "{TOKEN}"\n[filters.auth]', 1)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running_node(tmp_path_factory.mktemp("guarded"), 1, WITH_TOKEN) as started:
        yield started


@pytest.mark.parametrize("path", ["/v1/status", "/metrics", "/openapi.json"])
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"]
)
def test_without_the_token_nothing_is_told(guarded: Node, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = guarded.ask("GET", path, headers=headers)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert TOKEN not in answer.text


def test_with_the_token_all_is(guarded: Node) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("GET", "/v1/status", headers=headers).status == 200


def test_a_token_that_the_gateway_does_not_know_yet_takes_a_signal(guarded: Node) -> None:
    config = load(guarded.process.config_file, environ={}).config
    assert config.admin is not None
    changed = config.admin.model_copy(update={"token": "another-0123456789"})
    with pytest.raises(AdminError, match="SIGHUP"):
        AdminClient(config.model_copy(update={"admin": changed})).ask("POST", "/v1/reload")


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes_need_no_token(guarded: Node, path: str) -> None:
    assert guarded.ask("GET", path).status == 200


BEARER = f"Authorization: Bearer {TOKEN}"


def answers_to_two(node: Node, method: str, path: str, *fields: str) -> list[int]:
    """Send a request twice, the second one as the last; return the status of each answer.

    Args:
        node: Whom to ask.
        method: Of the request.
        path: Of the request.
        fields: Lines of its head; ``Host`` is added where it is not among them.

    """
    host = [] if any(field.startswith("Host:") for field in fields) else ["Host: localhost"]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *host, *fields])
    with socket.create_connection(("127.0.0.1", node.admin), timeout=30) as sock:
        sock.sendall(f"{head}\r\n\r\n{head}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        with sock.makefile("rb") as file:
            answers = file.read()
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answers)]


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", "/v1/status", [], 401),
        ("GET", "/v1/status", [f"{BEARER}x"], 401),
        ("GET", "/v1/status", ["Authorization: Bearer \xff"], 401),
        ("GET", "/nowhere", [], 401),
        ("POST", "/v1/status", [], 401),
        ("GET", "/v1/status", [BEARER, "Origin: null"], 403),
        ("GET", "/v1/status", [BEARER, "Host: attacker.example"], 403),
        ("GET", "/v1/status", ["Expect: nothing"], 417),
        ("GET", "/nowhere", ["Expect: nothing"], 417),
        ("GET", "/v1/status", ["no field"], 400),
        ("GET", "/health", [], 200),
        ("GET", "/ready", [], 200),
        ("POST", "/health", [], 405),
    ],
)
def test_a_request_without_the_token_is_the_last_one_on_its_connection(
    guarded: Node, method: str, path: str, fields: list[str], status: int
) -> None:
    assert answers_to_two(guarded, method, path, *fields) == [status]


def test_the_end_of_a_connection_is_announced(guarded: Node) -> None:
    assert guarded.ask("GET", "/v1/status").headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/status", 200), ("/health", 200), ("/nowhere", 404)]
)
def test_with_the_token_a_connection_takes_more_requests(
    guarded: Node, path: str, status: int
) -> None:
    assert answers_to_two(guarded, "GET", path, BEARER) == [status, status]


@pytest.mark.parametrize("path", ["/v1/status", "/health"])
def test_where_no_token_is_needed_a_connection_takes_more_requests(node: Node, path: str) -> None:
    assert answers_to_two(node, "GET", path) == [200, 200]


def test_the_token_is_in_no_log(guarded: Node) -> None:
    guarded.ask("GET", "/v1/status", headers={"Authorization": f"Bearer {TOKEN}x"})
    guarded.process.wait_for_log("wrong token")
    assert TOKEN not in guarded.process.log


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def test_a_unix_socket_is_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    abandoned = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    abandoned.bind(str(path))
    abandoned.close()
    config = CONFIG.replace('"127.0.0.1:{admin}"', f'"unix:{path}"')
    with running_node(tmp_path, 1, config):
        assert path.stat().st_mode & 0o777 == 0o600
        connection = UnixConnection(path)
        connection.request("GET", "/v1/status")
        assert connection.getresponse().status == 200
        connection.close()
    assert not path.exists()


def test_a_socket_that_is_in_use_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as owner:
        owner.bind(str(path))
        owner.listen()
        text = CONFIG.replace('"127.0.0.1:{admin}"', f'"unix:{path}"')
        config = tmp_path / "gateway.toml"
        config.write_text(text.format(workers=1, admin=0, origin=1, away=1, folder=tmp_path))
        done = subprocess.run(
            [sys.executable, "-m", "gatewayd", "serve", "-c", str(config), "--port", "0"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "address already in use" in done.stderr
