"""Logging of a process: what stands on standard error, and that nobody waits for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.support.servers import REPOSITORY

START = """
import logging, sys
from gatewayd.process import logs
from gatewayd.telemetry.settings import LoggingConfig
def apply(**settings):
    logs.apply(LoggingConfig(**settings))
logs.configure()
log = logging.getLogger("gatewayd.server")
"""
TEXT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?P<level>[A-Z]+) (?P<logger>\S+)\[\d+\] (?P<text>.*)"
)
SECONDS = 30


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    """Run a process to its end."""
    command = [sys.executable, "-c", START + code]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done


def texts(code: str) -> list[tuple[str, str, str]]:
    """Return level, logger and message of each line."""
    lines = run(code).stderr.decode().splitlines()
    found = [TEXT.fullmatch(line) for line in lines]
    assert None not in found, lines
    return [(one["level"], one["logger"], one["text"]) for one in found if one is not None]


def objects(code: str) -> list[dict[str, Any]]:
    """Return what is logged as JSON."""
    done = run('apply(format="json")\n' + code)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_text_is_a_line_for_each_event() -> None:
    code = 'log.info("attempt %d", 2); log.warning("no more")'
    assert texts(code) == [
        ("INFO", "gatewayd.server", "attempt 2"),
        ("WARNING", "gatewayd.server", "no more"),
    ]


def test_nothing_is_logged_on_standard_output() -> None:
    assert run('log.error("failed")').stdout == b""


@pytest.mark.parametrize(
    ("level", "severity"), [("INFO", 9), ("WARNING", 13), ("ERROR", 17), ("CRITICAL", 21)]
)
def test_json_has_the_names_of_opentelemetry(level: str, severity: int) -> None:
    (line,) = objects(f'log.log(logging.{level}, "attempt %d", 2)')
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert isinstance(line.pop("process.pid"), int)
    assert line == {
        "severity_text": level,
        "severity_number": severity,
        "logger": "gatewayd.server",
        "body": "attempt 2",
    }


def test_json_tells_the_process() -> None:
    done = run('apply(format="json")\nimport os\nlog.error("x")\nprint(os.getpid())')
    assert json.loads(done.stderr)["process.pid"] == int(done.stdout)


def test_json_has_the_trace_where_the_event_names_one() -> None:
    (line,) = objects('log.info("x", extra={"trace_id": "4bf9", "span_id": "00f0"})')
    assert (line["trace_id"], line["span_id"]) == ("4bf9", "00f0")


RAISES = """
try:
    raise KeyError("missing\\nline")
except KeyError:
    log.exception("failed")
"""


def test_json_has_exceptions_in_the_same_line() -> None:
    (line,) = objects(RAISES)
    assert (line["body"], line["exception.type"]) == ("failed", "KeyError")
    assert line["exception.message"] == repr("missing\nline")
    assert line["exception.stacktrace"].startswith("Traceback (most recent call last)")


def test_text_has_exceptions_below_the_line() -> None:
    first, second, *_, last = run(RAISES).stderr.decode().splitlines()
    assert TEXT.fullmatch(first)
    assert second == "    Traceback (most recent call last):"
    assert last.startswith("    KeyError: ")


def test_text_has_nothing_that_looks_like_another_line_or_steers_a_terminal() -> None:
    code = r'log.info("\r \x0b \x1b[2J \x7f \x85 \x9b \u2028 \0")'
    shown = r"\r \x0b \x1b[2J \x7f \x85 \x9b \u2028 \x00"
    assert texts(code) == [("INFO", "gatewayd.server", shown)]


def test_text_keeps_what_does_no_harm() -> None:
    assert texts(r'log.info("\ta b\xe9\\")') == [("INFO", "gatewayd.server", "\ta b\xe9\\")]


def test_no_exception_is_made_up() -> None:
    (line,) = objects('log.error("x", exc_info=True)')
    assert not [name for name in line if name.startswith("exception")]


LEVELS: list[tuple[str, list[str]]] = [
    ('level="debug"', ["debug", "info", "warning", "error"]),
    ('level="info"', ["info", "warning", "error"]),
    ('level="warning"', ["warning", "error"]),
    ('level="error"', ["error"]),
    ('levels={"gatewayd.server": "debug"}', ["debug", "info", "warning", "error"]),
    ('levels={"gatewayd.server": "error"}', ["error"]),
    ('level="error", levels={"gatewayd.server": "info"}', ["info", "warning", "error"]),
    ('level="error", levels={"gatewayd": "warning"}', ["warning", "error"]),
    ('levels={"gatewayd.upstream": "error"}', ["info", "warning", "error"]),
]
LIBRARY_LEVELS = [
    ("debug", ["warning", "error"]),
    ("info", ["warning", "error"]),
    ("error", ["error"]),
]
ALL_LEVELS = """
def log_all(name, settings):
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), level)("%s: %s", settings, level)
"""


@pytest.fixture(scope="module")
def all_levels() -> list[str]:
    """Log at each level with each of the settings, one after the other in one process."""
    code = ALL_LEVELS
    for settings, _ in LEVELS:
        code += f"apply({settings}); log_all('gatewayd.server', {settings!r})\n"
    for level, _ in LIBRARY_LEVELS:
        code += f"apply(level='{level}'); log_all('asyncio', 'library at {level}')\n"
    return [text for _, _, text in texts(code)]


@pytest.mark.parametrize(("settings", "shown"), LEVELS)
def test_levels(all_levels: list[str], settings: str, shown: list[str]) -> None:
    found = [text for text in all_levels if text.startswith(f"{settings}: ")]
    assert found == [f"{settings}: {level}" for level in shown]


@pytest.mark.parametrize(("level", "shown"), LIBRARY_LEVELS)
def test_libraries_are_heard_from_warning(
    all_levels: list[str], level: str, shown: list[str]
) -> None:
    found = [text for text in all_levels if text.startswith(f"library at {level}: ")]
    assert found == [f"library at {level}: {one}" for one in shown]


def test_a_level_holds_for_the_loggers_below() -> None:
    code = """
apply(level="error", levels={"gatewayd.server": "debug"})
logging.getLogger("gatewayd.server.budget").debug("below")
logging.getLogger("gatewayd.retries").warning("beside")
"""
    assert [text for _, _, text in texts(code)] == ["below"]


def test_the_next_configuration_takes_levels_back() -> None:
    code = """
apply(levels={"gatewayd.server": "debug"})
log.debug("shown")
apply()
log.debug("not shown")
"""
    assert [text for _, _, text in texts(code)] == ["shown"]


def test_the_next_configuration_changes_the_format_back() -> None:
    code = 'apply(format="json"); log.info("one"); apply(); log.info("two")'
    first, second = run(code).stderr.decode().splitlines()
    assert json.loads(first)["body"] == "one"
    assert TEXT.fullmatch(second)


def test_the_level_of_the_start_counts_until_there_is_a_configuration() -> None:
    code = 'logs.configure("error"); log.warning("no"); log.error("yes")'
    assert [text for _, _, text in texts(code)] == ["yes"]


def test_without_a_start_a_configuration_changes_nothing() -> None:
    code = """
import logging
from gatewayd.process import logs
from gatewayd.telemetry.settings import LoggingConfig
before = logging.root.level, logging.getLogger("gatewayd").level
logs.apply(LoggingConfig(level="debug"))
assert (logging.root.level, logging.getLogger("gatewayd").level) == before
assert logs.dropped() == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS)


@pytest.mark.parametrize("text", ["a\\ud800b", "caf\\xe9", "\\U0001f40d"])
def test_whatever_text_there_is_is_logged_as_json(text: str) -> None:
    (line,) = objects(f"log.info('{text} %s', '{text}')")
    expected = text if "ud800" in text else text.encode().decode("unicode_escape")
    assert line["body"] == f"{expected} {expected}"


def test_lone_surrogates_are_logged_as_text() -> None:
    assert texts(r'log.info("a\ud800b")') == [("INFO", "gatewayd.server", r"a\ud800b")]


def test_lone_surrogates_in_an_exception_are_logged_as_json() -> None:
    code = r"""
try:
    raise ValueError("a\ud800b")
except ValueError:
    log.exception("failed")
"""
    (line,) = objects(code)
    assert line["exception.message"] == r"a\ud800b"


def test_newlines_make_no_further_line_of_json() -> None:
    (line,) = objects(r'log.info("one\ntwo\r\n%s", "three\u2028four")')
    assert line["body"] == "one\ntwo\r\nthree\u2028four"


def test_newlines_in_values_make_no_further_event_of_text() -> None:
    forged = "2026-01-01 00:00:00,000 INFO gatewayd.admin[1] drained"
    lines = run(rf'log.info("path %s", "/\n{forged}")').stderr.decode().splitlines()
    assert len([line for line in lines if TEXT.fullmatch(line)]) == 1


@pytest.mark.parametrize("text", ["x", "\\xe9", "\\n"])
def test_a_very_long_event_is_cut_and_is_json_all_the_same(text: str) -> None:
    first, second = objects(f'log.info("{text}" * 200_000); log.info("next")')
    assert len(first["body"]) < 200_000
    assert second["body"] == "next"


def test_a_very_long_event_is_cut_in_text() -> None:
    first, second = texts('log.info("x" * 200_000); log.info("next")')
    assert len(first[2]) < 65_536
    assert second[2] == "next"


@pytest.mark.parametrize("form", ["text", "json"])
def test_events_that_cannot_be_formatted_stop_nobody(form: str) -> None:
    code = f"""
class Unprintable:
    def __str__(self):
        raise ValueError("no text")
apply(format="{form}")
log.info("%d attempts", "no number")
log.info("one %s", 1, 2)
log.info(Unprintable())
log.info("next")
"""
    (line,) = run(code).stderr.decode().splitlines()
    assert "next" in line


UNREAD = """
import os
apply(format="{form}", queue_size=100)
for _ in range(10_000):
    log.info("x" * 1000)
print("went on", logs.dropped(), flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_pipe_that_nobody_reads_keeps_nobody_waiting(form: str) -> None:
    command = [sys.executable, "-c", START + UNREAD.format(form=form)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            stdout, stderr, stdin = process.stdout, process.stderr, process.stdin
            assert stdout is not None
            assert stderr is not None
            assert stdin is not None
            went, on, dropped = stdout.readline().split()
            assert (went, on) == (b"went", b"on")
            # The pipe takes 64 KiB, the queue 100 lines, and the thread has 4 KiB in hand.
            assert 9_700 < int(dropped) < 10_000
            # What was not dropped arrives once somebody reads.
            arriving = 10_000 - int(dropped)
            assert all(b"x" * 1000 in stderr.readline() for _ in range(arriving))
            stdin.close()
        finally:
            process.kill()


def test_an_end_with_a_pipe_that_nobody_reads_is_an_end() -> None:
    command = [sys.executable, "-c", START + 'for _ in range(1000): log.info("x" * 1000)']
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


def test_nothing_is_dropped_while_somebody_reads() -> None:
    done = run('for _ in range(50): log.info("x" * 1000)\nprint(logs.dropped())')
    assert (done.stdout, done.stderr.count(b"\n")) == (b"0\n", 50)


def test_what_waits_at_the_end_is_written() -> None:
    done = run('for number in range(5000): log.info("%d", number)')
    assert done.stderr.count(b"\n") == 5000


def test_what_cannot_be_written_is_counted() -> None:
    code = """
import os
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
log.info("one"); log.info("two")
logging.shutdown()
print(logs.dropped())
"""
    assert run(code).stdout == b"2\n"


def test_a_closed_standard_error_stops_nobody() -> None:
    code = 'import os; os.close(2); log.info("one"); logging.shutdown(); print(logs.dropped())'
    assert run(code).stdout == b"1\n"


def test_the_documentation_lists_the_loggers() -> None:
    named = re.compile(r'getLogger\("(gatewayd[a-z_.]*)"\)')
    sources = [
        file for folder in ("gatewayd", "filters") for file in (REPOSITORY / folder).rglob("*.py")
    ]
    there = {name for file in sources for name in named.findall(file.read_text())}
    page = (REPOSITORY / "docs" / "observability.md").read_text()
    table = page.partition("| logger |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(gatewayd[a-z_.]*)`", table)) == there
