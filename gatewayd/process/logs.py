"""Logging of a gatewayd process: one line of text for each event, on standard error."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"


def configure(level: LogLevel) -> None:
    """Log what has this level or a higher one; what libraries say counts from ``warning``.

    Called once, by the commands that serve.
    """
    logging.basicConfig(format=_FORMAT, level=max(logging.WARNING, _number(level)))
    logging.getLogger("gatewayd").setLevel(_number(level))


def _number(level: LogLevel) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
