"""A whole service is away: clients are told at once, and when to come back."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import GatewayProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
[pipeline]
filters = ["route_match", "retry", "balancer", "breaker", "upstream"]
[filters.breaker]
consecutive_failures = 1
open_for = 60
[services.refusing]
instances = [{{ url = "http://127.0.0.1:{one}" }}, {{ url = "http://127.0.0.1:{two}" }}]
[services.taken_out]
instances = [{{ url = "http://127.0.0.1:{one}", healthy = false }}]
[[routes]]
name = "refusing"
path = "/refusing"
service = "refusing"
[[routes]]
name = "taken_out"
path = "/taken-out"
service = "taken_out"
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway said."""

    status: int
    media_type: str | None
    retry_after: str | None
    code: str


def get(port: int, path: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        code = json.loads(response.read())["code"]
    finally:
        connection.close()
    return Answer(
        response.status,
        response.getheader("Content-Type"),
        response.getheader("Retry-After"),
        code,
    )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = CONFIG.format(one=free_port(), two=free_port())
    with GatewayProcess(config, tmp_path_factory.mktemp("outage")) as process:
        yield process


def test_a_service_whose_instances_are_all_taken_out(gateway: GatewayProcess) -> None:
    told = get(gateway.port, "/taken-out")
    assert told == Answer(503, "application/problem+json", "1", "no_instance")


def test_a_service_whose_breakers_are_all_open(gateway: GatewayProcess) -> None:
    get(gateway.port, "/refusing")  # tries both, which opens their breakers
    told = get(gateway.port, "/refusing")
    assert told == Answer(503, "application/problem+json", "60", "breaker_open")
