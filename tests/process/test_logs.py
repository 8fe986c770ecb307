"""The process's own log, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

BEGIN = """
import logging
from gatewayd.process import logs
from gatewayd.telemetry.settings import LoggingConfig
logs.configure()
def use(**settings):
    logs.apply(LoggingConfig.model_validate(settings))
log = logging.getLogger("gatewayd.test")
"""


def logged(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, timeout=60, check=True
    )
    return done.stderr.decode().splitlines()


def json_line(code: str) -> dict[str, Any]:
    (line,) = logged('use(format="json")\n' + code)
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_lines_of_text() -> None:
    (line,) = logged("log.info('hello %s', 'there')")
    assert line.endswith("hello there")
    assert "INFO gatewayd.test[" in line


def test_lines_of_json_have_the_names_of_opentelemetry() -> None:
    line = json_line("log.warning('hello')")
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("process.pid") > 0
    assert line == {
        "severity_text": "WARNING", "severity_number": 13, "logger": "gatewayd.test",
        "body": "hello",
    }  # fmt: skip


def test_errors_come_with_their_stack() -> None:
    line = json_line("try: 1 / 0\nexcept Exception: log.exception('broken')")
    assert line["exception.type"] == "ZeroDivisionError"
    assert line["exception.message"] == "division by zero"
    assert "Traceback" in line["exception.stacktrace"]


def test_the_trace_is_told_where_it_is_known() -> None:
    assert json_line("log.info('x', extra={'trace_id': 'abc'})")["trace_id"] == "abc"


@pytest.mark.parametrize("text", ["a\\ud800b", "a\\nb", "\\x00"])
def test_one_event_is_one_line_of_json(text: str) -> None:
    assert json_line(f"log.info('{text}')")["severity_text"] == "INFO"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("level='info'", ["info", "warning"]),
        ("level='warning'", ["warning"]),
        ("level='debug'", ["debug", "info", "warning"]),
        ("levels={'gatewayd.test': 'debug'}", ["debug", "info", "warning"]),
        ("level='debug', levels={'gatewayd.test': 'error'}", []),
    ],
)
def test_levels(settings: str, expected: list[str]) -> None:
    lines = logged(f"use({settings})\nfor name in 'debug', 'info', 'warning': "
                   "getattr(log, name)(name)")  # fmt: skip
    assert [line.split()[-1] for line in lines] == expected


def test_a_level_that_a_configuration_no_longer_has_is_gone() -> None:
    code = "use(levels={'gatewayd.test': 'debug'})\nuse()\nlog.debug('hidden')\nlog.info('shown')"
    assert [line.split()[-1] for line in logged(code)] == ["shown"]


def test_what_libraries_say_counts_from_warning() -> None:
    code = "use(level='debug')\nlogging.getLogger('library').info('hidden')\nlog.info('shown')"
    assert [line.split()[-1] for line in logged(code)] == ["shown"]


def test_a_pipe_that_nobody_reads_does_not_stop_the_process() -> None:
    code = (
        "use(queue_size=100)\n"
        "for number in range(5000): log.info('x' * 1000)\n"
        "print(logs.dropped() > 1000, flush=True)\n"
        "import os; os._exit(0)\n"
    )
    read_end, write_end = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", BEGIN + code],
            stdout=subprocess.PIPE, stderr=write_end, timeout=60, check=True,
        )  # fmt: skip
    finally:
        os.close(write_end)
        os.close(read_end)
    assert done.stdout == b"True\n"
