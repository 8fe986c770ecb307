"""Logging of a gatewayd process: one line for each event, on standard error.

Lines are written by a thread of their own (:class:`gatewayd.telemetry.lines.LineWriter`): whoever
logs while it serves must not wait for a pipe that nobody reads.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

import orjson

from gatewayd.telemetry.lines import LineWriter, Timestamps, encodable

if TYPE_CHECKING:
    from gatewayd.telemetry.settings import LoggingConfig, LogLevel

_FLUSH_SECONDS = 2.0
_UNTIL_CONFIGURED = 10_000
_MAX_CHARACTERS = 16_384  # of a text, which may be a stack
# What a terminal obeys, or some readers take for the end of a line; an error's text may hold what a
# client has sent.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# Severity numbers of OpenTelemetry's log data model.
_SEVERITIES = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}


class _TextFormatter(logging.Formatter):
    """A line of text for each event; further ones are indented, so that none looks like one."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)[:_MAX_CHARACTERS].replace("\n", "\n    ")
        return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)


_TEXT = _TextFormatter("%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s")


class _JsonFormatter(logging.Formatter):
    """One JSON object for each event."""

    def __init__(self) -> None:
        super().__init__()
        self._timestamps = Timestamps()

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": self._timestamps.of(int(record.created * 1000)),
            "severity_text": record.levelname,
            "severity_number": _SEVERITIES.get(record.levelname, 0),
            "logger": record.name,
            "process.pid": record.process,
            "body": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception.type"] = record.exc_info[0].__qualname__
            line["exception.message"] = str(record.exc_info[1])
            line["exception.stacktrace"] = self.formatException(record.exc_info)
        for key in ("trace_id", "span_id"):
            if value := getattr(record, key, None):
                line[key] = value
        clean = {
            key: encodable(value[:_MAX_CHARACTERS]) if isinstance(value, str) else value
            for key, value in line.items()
        }
        return orjson.dumps(clean).decode()


class _LinesHandler(logging.Handler):
    """Hands formatted events to a thread that writes them."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.setFormatter(_TEXT)
        self.lines = LineWriter("stderr", capacity=capacity, interval=0)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.lines.write(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:  # arguments that do not fit the text, or cannot be shown
            self.lines.lose(1)

    def close(self) -> None:
        self.lines.close(_FLUSH_SECONDS)
        super().close()


_handler: _LinesHandler | None = None


def configure(level: LogLevel = "info") -> None:
    """Log to standard error; called once, by the commands that serve."""
    global _handler  # logging is the process's
    _handler = _LinesHandler(_UNTIL_CONFIGURED)
    logging.basicConfig(handlers=[_handler], force=True)
    _set_level(level)


def apply(config: LoggingConfig) -> None:
    """Log as a configuration says from now on; nothing where :func:`configure` was not called."""
    if _handler is None:
        return
    _handler.setFormatter(_JsonFormatter() if config.format == "json" else _TEXT)
    _handler.lines.capacity = config.queue_size
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("gatewayd."):
            logging.getLogger(name).setLevel(logging.NOTSET)
    _set_level(config.level)
    for name, level in config.levels.items():
        logging.getLogger(name).setLevel(_number(level))


def dropped() -> int:
    """Return how many events were not written."""
    return 0 if _handler is None else _handler.lines.full + _handler.lines.failed


def _set_level(level: LogLevel) -> None:
    logging.root.setLevel(max(logging.WARNING, _number(level)))
    logging.getLogger("gatewayd").setLevel(_number(level))


def _number(level: LogLevel) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
