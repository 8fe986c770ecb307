"""What a filter of a plugin offers to operators is reached over the admin API."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.admin.conftest import CONFIG, running_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.admin.conftest import Node

FILTER = '''
from gatewayd import Filter, FilterConfig, GatewayError


class Notes(Filter[FilterConfig]):
    """Keep what operators say."""

    name = "notes"
    Config = FilterConfig

    def __init__(self, config, gateway):
        super().__init__(config, gateway)
        self._notes = []
        gateway.admin.register("notes.add", self._add)

    async def _add(self, arguments):
        if "text" not in arguments:
            raise GatewayError("a note has a text")
        if arguments["text"] is None:
            raise RuntimeError("what nobody has foreseen")
        self._notes.append(arguments["text"])
        return self._notes

    def __call__(self, exchange, forward):
        return forward(exchange)
'''
PIPELINE = '\n[pipeline]\nfilters = ["notes", "route_match", "balancer", "upstream"]\n'


@pytest.fixture(scope="module", params=[1, 2])
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node with a plugin that is installed for it alone."""
    plugin = tmp_path_factory.mktemp("plugin")
    (plugin / "notes.py").write_text(FILTER)
    about = plugin / "notes-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: notes\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gatewayd.filters]\nnotes = notes:Notes\n")
    paths = [str(plugin), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    head, _, tail = CONFIG.partition("[filters.auth]")
    services = "[services.origin]" + tail.partition("[services.origin]")[2]
    config = head + PIPELINE + services.replace('rate_limit = "50/hour burst 50"\n', "")
    folder = tmp_path_factory.mktemp("node")
    with running_node(folder, request.param, config, environment) as started:
        yield started


def test_it_runs_in_every_worker(node: Node) -> None:
    answer = node.ask("POST", "/v1/operations/notes.add", {"arguments": {"text": "hello"}})
    workers = range(len(node.process.worker_pids))
    assert answer.status == 200
    assert answer.json == [{"worker": number, "told": ["hello"]} for number in workers]


def test_it_is_in_the_audit_trail_with_its_arguments(node: Node) -> None:
    body = {"arguments": {"text": "for the trail"}}
    node.ask("POST", "/v1/operations/notes.add", body)
    node.process.wait_for_log("for the trail")
    (line,) = [line for line in node.process.log.splitlines() if "for the trail" in line]
    row = json.loads(line[line.index("{") :])
    assert (row["action"], row["outcome"], row["detail"]) == ("admin", "success", body)


@pytest.mark.parametrize(
    ("name", "body", "status", "detail"),
    [
        ("notes.add", {"arguments": {}}, 400, "a note has a text"),
        ("notes.add", {"arguments": []}, 422, "arguments"),
        ("notes.add", {"arguments": {"text": 1 << 64}}, 422, "64-bit"),
        ("notes.add", {"arguments": {"text": None}}, 500, "Worker 0 failed at it"),
        ("notes.drop", {}, 404, "These are there: notes.add."),
    ],
)
def test_what_is_refused(node: Node, name: str, body: object, status: int, detail: str) -> None:
    answer = node.ask("POST", f"/v1/operations/{name}", body)
    assert answer.status == status
    assert detail in answer.json["detail"]
