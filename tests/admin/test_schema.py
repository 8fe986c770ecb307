"""The admin API keeps what its OpenAPI description promises, whatever it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from gatewayd.admin.openapi import describe
from tests.admin.conftest import running_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.admin.conftest import Node


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("fuzzed"), 2) as started:
        yield started


described = schemathesis.openapi.from_dict(describe())


def test_it_is_what_the_listener_gives(fuzzed: Node) -> None:
    assert fuzzed.ask("GET", "/openapi.json").json == describe()


@described.parametrize()
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_answers_as_described(fuzzed: Node, case: schemathesis.Case) -> None:
    case.call_and_validate(base_url=f"http://127.0.0.1:{fuzzed.admin}", timeout=30)


def test_it_has_survived_that(fuzzed: Node) -> None:
    status = fuzzed.ask("GET", "/v1/status").json
    assert all(not one["error"] for one in status["workers"])
    assert "Traceback" not in fuzzed.process.log


def test_every_schema_is_one() -> None:
    for schema in describe()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_part_of_it_is_described() -> None:
    for name, schema in describe()["components"]["schemas"].items():
        assert schema["description"], name
        for key, member in schema["properties"].items():
            assert member.get("description"), f"{name}.{key}"
