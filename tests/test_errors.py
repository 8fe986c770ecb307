from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd import (
    BadResponse,
    ConfigError,
    ConfigIssue,
    ConnectFailure,
    ConnectTimeout,
    GatewayError,
    NoInstance,
    PoolExhausted,
    Reject,
    UpstreamError,
    UpstreamReset,
    UpstreamTimeout,
)
from gatewayd.errors import INTERNAL, phrase, problem_response


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "bad"),
        ({"key": "a.b"}, "a.b: bad"),
        ({"file": "f.toml", "line": 3}, "f.toml:3: bad"),
        ({"file": "environment variable X"}, "environment variable X: bad"),
        ({"key": "a", "file": "f", "line": 1, "hint": "say b"}, "f:1: a: bad (say b)"),
    ],
)
def test_an_issue_says_where_what_and_what_to_do(place: dict[str, Any], text: str) -> None:
    issue = ConfigIssue("bad", **place)
    assert str(issue) == text
    assert repr(issue) == f"ConfigIssue({text!r})"


def test_a_configuration_error_says_everything_that_is_wrong() -> None:
    one, other = ConfigIssue("bad", key="a"), ConfigIssue("worse", key="b")
    assert str(ConfigError([one, other])) == "a: bad\nb: worse"
    assert ConfigError(one).issues == [one]
    assert isinstance(ConfigError(one), GatewayError)


def document(reject: Reject) -> dict[str, Any]:
    response = problem_response(reject, "id-1")
    assert response.headers.get("Content-Type") == "application/problem+json"
    assert response.status == reject.status
    assert isinstance(response.body, bytes)
    problem: dict[str, Any] = json.loads(response.body)
    return problem


def test_a_refusal_is_a_problem_document() -> None:
    assert document(Reject(403, "ip_denied", "Not from there.")) == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "code": "ip_denied",
        "detail": "Not from there.",
        "request_id": "id-1",
    }


def test_a_refusal_brings_its_own_fields() -> None:
    fields = [("Allow", "GET"), ("Allow", "PUT")]
    response = problem_response(Reject(405, "method_not_allowed", headers=fields), "id-1")
    assert response.headers.get_all("Allow") == ["GET", "PUT"]


@pytest.mark.parametrize(
    ("error", "status", "code", "reason"),
    [
        (UpstreamError, 502, "upstream_error", "upstream_error"),
        (ConnectFailure, 502, "upstream_connect_failure", "connect_failure"),
        (ConnectTimeout, 504, "upstream_connect_timeout", "connect_failure"),
        (UpstreamReset, 502, "upstream_reset", "reset"),
        (UpstreamTimeout, 504, "upstream_timeout", "timeout"),
        (BadResponse, 502, "upstream_bad_response", "bad_response"),
        (PoolExhausted, 503, "upstream_overloaded", "overloaded"),
    ],
)
def test_upstream_errors_have_a_code_and_keep_their_cause_to_themselves(
    error: type[UpstreamError], status: int, code: str, reason: str
) -> None:
    raised = error("10.0.0.7 refused", sent=True)
    problem = document(raised)
    assert (problem["status"], problem["code"], raised.reason) == (status, code, reason)
    assert "10.0.0.7" not in json.dumps(problem)
    assert str(raised) == f"{code}: 10.0.0.7 refused"
    assert raised.sent


@pytest.mark.parametrize(("seconds", "field"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2")])
def test_retry_after_is_in_whole_seconds_and_at_least_one(seconds: float, field: str) -> None:
    reject = NoInstance(seconds)
    assert document(reject)["code"] == "no_instance"
    assert problem_response(reject, "id-1").headers.get("Retry-After") == field


def test_an_internal_error_gives_nothing_away() -> None:
    problem = document(INTERNAL)
    assert (problem["status"], problem["code"]) == (500, "internal_error")


@pytest.mark.parametrize(
    ("status", "text"),
    [(404, "Not Found"), (499, "Client Error"), (599, "Server Error"), (200, "OK")],
)
def test_phrases(status: int, text: str) -> None:
    assert phrase(status) == text
