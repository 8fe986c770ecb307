"""Settings of the process's own log."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from gatewayd.config.model import Model

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LoggerName = Annotated[str, Field(pattern=r"^gatewayd(\.[a-z0-9_]+)*$")]


class LoggingConfig(Model):
    """What the processes log, on standard error; requests are the business of `access_log`."""

    format: Literal["text", "json"] = "text"
    """One line of text for each event, or one JSON object with the names of OpenTelemetry's log
    data model."""
    level: LogLevel = "info"
    """Least severe events that are logged. What libraries say counts from `warning`."""
    levels: dict[LoggerName, LogLevel] = {}
    """Levels of single loggers, such as `"gatewayd.server" = "debug"`; observability.md has the
    names. A plugin may have others, so a name by which nobody logs is no error, and changes
    nothing."""
    stall_seconds: float = Field(0.5, ge=0.05, le=60, allow_inf_nan=False)
    """For how long one thing may occupy a worker's event loop; what takes longer is logged with its
    stack and the filter in it, while it lasts."""
    queue_size: int = Field(10_000, ge=100, le=1_000_000)
    """Lines that wait while standard error takes none; those beyond are dropped and counted."""
