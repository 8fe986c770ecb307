"""The commands that ask a running gateway, against one with two workers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from gatewayd.admin.client import AdminClient, AdminError
from gatewayd.cli.explain_request import explain_request
from gatewayd.cli.status import status
from gatewayd.cli.top import rows_between
from gatewayd.config.load import load
from gatewayd.errors import GatewayError
from tests.admin.conftest import CONFIG, running_node
from tests.support.certificates import Authority
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.admin.conftest import Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    config = CONFIG + '\n[filters.explain]\nkey = "a key of the tests"\n'
    with running_node(tmp_path_factory.mktemp("node"), 2, config) as started:
        yield started


def command(node: Node, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gatewayd", *arguments, "-c", str(node.process.config_file)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_status_shows_workers_and_instances(node: Node) -> None:
    shown = command(node, "status")
    for pid in node.process.worker_pids:
        assert str(pid) in shown
    assert "serving" in shown
    assert "2/2" in shown


def test_status_for_programs(node: Node) -> None:
    shown = json.loads(command(node, "status", "--json"))
    assert shown["node"]["pid"] == node.process.pid
    assert {one["name"] for one in shown["services"]} == {"origin", "away"}


class NoWorkerAnswers:
    """A gateway whose workers do not answer; its supervisor does."""

    def __init__(self, _: object) -> None:
        pass

    def ask(self, _: str, path: str) -> dict[str, Any]:
        if path == "/v1/services":
            raise AdminError("No worker answers: the worker is being started")
        return {"pid": 7, "workers": []}


def test_status_for_programs_where_no_worker_answers(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gatewayd.cli.status.AdminClient", NoWorkerAnswers)
    with pytest.raises(AdminError, match="No worker answers"):
        status(config=node.process.config_file, json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"node": {"pid": 7, "workers": []}, "services": None}


def test_top_shows_rates(node: Node) -> None:
    stop = threading.Event()

    def load_it() -> None:
        while not stop.is_set():
            node.get("/nowhere")

    loading = threading.Thread(target=load_it)
    loading.start()
    try:
        shown = command(node, "top", "--interval", "0.5", "--count", "1")
    finally:
        stop.set()
        loading.join()
    assert "(none)" in shown


def test_rates_are_of_what_came_between_two_looks() -> None:
    def traffic(requests: int, seconds: float) -> dict[str, list[dict[str, object]]]:
        route = {"route": "a", "requests": requests, "refused": 1, "failed": 0, "seconds": seconds}
        return {"routes": [route], "services": []}

    assert rows_between(traffic(10, 1.0), traffic(30, 1.5), 2.0) == [
        ["route", "a", "10.0", "0.0", "0.0", "", "25.00"]
    ]


def test_reload_tells_what_runs(node: Node) -> None:
    digest = node.ask("GET", "/v1/status").json["digest"]
    assert digest[:12] in command(node, "reload")


def test_drain_and_back(node: Node) -> None:
    assert "out of service" in command(node, "drain")
    assert node.get("/ready").status == 503
    command(node, "drain", "--undo")
    assert node.get("/ready").status == 200


def test_log_level(node: Node) -> None:
    assert "debug" in command(node, "log-level", "debug", "gatewayd.server")


def test_explain_sends_a_request(node: Node) -> None:
    shown = command(node, "explain", "request", "GET", "/items/7")
    assert "answered: 200" in shown
    assert "route: items" in shown
    assert "upstream" in shown


@pytest.mark.parametrize(
    ("url", "fields", "host"),
    [
        ("/items", (), "localhost"),
        ("http://a.example/items", (), "a.example"),
        ("HTTP://a.example/items#part", (), "a.example"),
        ("http://a.example/items", ("HOST: b.example",), "b.example"),
    ],
)
def test_explain_describes_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, fields: tuple[str, ...], host: str
) -> None:
    ask = Mock(return_value={"explanation": {}})
    monkeypatch.setattr(AdminClient, "ask", ask)
    file = tmp_path / "gateway.toml"
    file.write_text('[admin]\nlisten = "127.0.0.1:9"\n')
    explain_request("get", url, header=("X-One: 1 ", *fields), config=file)
    assert ask.call_args.args[2] == {
        "method": "GET",
        "target": "/items",
        "host": host,
        "headers": {"X-One": "1"},
        "send": True,
    }


def test_explain_takes_a_field_once(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[admin]\nlisten = "127.0.0.1:9"\n')
    with pytest.raises(GatewayError, match="x-one is given twice"):
        explain_request("GET", "/", header=("X-One: 1", "x-one: 2"), config=file)


def test_explain_makes_a_field_that_works(node: Node) -> None:
    name, _, value = command(node, "explain", "header").strip().partition(": ")
    answer = node.get("/items", **{name: value})
    record = json.loads(answer.headers[name])
    assert record["route"]["name"] == "items"
    assert "route: items" in command(node, "explain", "show", record["id"])


def client_of(folder: Path, text: str) -> AdminClient:
    (folder / "gateway.toml").write_text(text)
    return AdminClient(load(folder / "gateway.toml", environ={}).config)


def test_without_an_admin_api_there_is_nothing_to_ask(tmp_path: Path) -> None:
    with pytest.raises(AdminError, match="no \\[admin\\] table"):
        client_of(tmp_path, "")


def test_where_nobody_answers(tmp_path: Path) -> None:
    client = client_of(tmp_path, f'[admin]\nlisten = "127.0.0.1:{free_port()}"\n')
    with pytest.raises(AdminError, match="no gateway answers on 127"):
        client.ask("GET", "/v1/status")


@pytest.mark.parametrize("mutual", [False, True])
def test_over_tls(tmp_path: Path, mutual: bool) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("gateway.example")
    operator = authority.issue("operator")
    tls = f'tls = {{ certificate = "{certificate}", key = "{key}"'
    if mutual:
        tls += f', client_ca = "{authority.file}"'
        tls += f', client_certificate = "{operator[0]}", client_key = "{operator[1]}"'
    guard = f'token = "0123456789abcdef"\n{tls} }}\n'
    config = CONFIG.replace("[filters.auth]", guard.replace("{", "{{").replace("}", "}}")
                            + "[filters.auth]", 1)  # fmt: skip
    with running_node(tmp_path, 1, config) as node:
        assert "serving" in command(node, "status")
        if mutual:
            text = node.process.config_file.read_text()
            other = Authority(tmp_path, "Other").issue("stranger")
            stranger = text.replace(operator[0], other[0]).replace(operator[1], other[1])
            elsewhere = tmp_path / "elsewhere"
            elsewhere.mkdir()
            with pytest.raises(AdminError):
                client_of(elsewhere, stranger).ask("GET", "/v1/status")
