"""One line for each exchange: who asked for what, what became of it, and where the time went.

The line is made after the last byte has gone to the client, and written by a thread of its own: a
slow disk costs lines, which are counted, and no request.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING

from gatewayd import ConfigError, ConfigIssue, Filter, LineWriter, status_codes
from gatewayd_filters.access_log.config import AccessLogConfig
from gatewayd_filters.access_log.json_lines import JsonLines
from gatewayd_filters.access_log.shown import CLIENT_LEFT
from gatewayd_filters.access_log.text_lines import TextLines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Exchange, Gateway, Metrics

__all__ = ["AccessLog", "AccessLogConfig"]


class AccessLog(Filter[AccessLogConfig]):
    """Log every exchange when it has ended."""

    name = "access_log"
    Config = AccessLogConfig
    reports = True

    def __init__(self, config: AccessLogConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        as_json = config.format == "json"
        self._lines = (JsonLines(config, gateway.clock) if as_json else TextLines(config)).lines
        self._always = status_codes(config.always) | {CLIENT_LEFT}
        self._all = config.sample_ratio >= 1 and not config.exclude_paths
        self._destination: _Destination | None = None

    async def start(self) -> None:
        """Open the destination.

        Raises:
            ConfigError: it cannot be opened.

        """
        config, metrics = self.config, self.gateway.metrics
        key = ("access_log", config.path, config.queue_size, config.interval, config.close_timeout)
        try:
            self._destination = self.gateway.keep(key, lambda: _Destination(config, metrics))
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"{config.path} cannot be written to: {reason}"
            raise ConfigError(ConfigIssue(message, key="filters.access_log.path")) from error
        if self._destination.unread:
            text = "nobody reads %s: lines of the access log are dropped until somebody does"
            self.gateway.log.warning(text, config.path)

    def report(self, exchanges: Sequence[Exchange]) -> None:
        """See :meth:`gatewayd.Filter.report`."""
        destination = self._destination
        if destination is None:
            return
        wanted = exchanges if self._all else list(filter(self._is_wanted, exchanges))
        try:
            lines = self._lines(wanted)
        except Exception:  # by what another filter has left on one of them
            destination.lose(len(wanted))
            raise
        destination.write_all(lines, len(wanted))

    def _is_wanted(self, exchange: Exchange) -> bool:
        status = CLIENT_LEFT if exchange.response is None else exchange.response.status
        if status in self._always:
            return True
        if exchange.request.path in self.config.exclude_paths:
            return False
        return random() < self.config.sample_ratio  # noqa: S311  # a share, not a secret


class _Destination:
    """Where lines go; survives reloads with the same settings."""

    def __init__(self, config: AccessLogConfig, metrics: Metrics) -> None:
        self._lines = LineWriter(config.path, capacity=config.queue_size, interval=config.interval)
        self.write_all, self.lose = self._lines.write_all, self._lines.lose
        self._close_timeout = config.close_timeout
        self._metrics = metrics
        dropped = metrics.counter(
            "gatewayd_access_log_dropped_lines", "Lines that were not written.", ("reason",)
        )
        self._full, self._failed = dropped.labels("full"), dropped.labels("failed")
        self._seen = 0, 0
        metrics.on_read(self._count)

    @property
    def unread(self) -> bool:
        """Whether it is a named pipe that nobody has open."""
        return self._lines.unread

    def _count(self) -> None:
        full, failed = self._lines.full, self._lines.failed
        self._full.value += full - self._seen[0]
        self._failed.value += failed - self._seen[1]
        self._seen = full, failed

    def close(self) -> None:
        """Write what waits, within the time for it."""
        self._lines.close(self._close_timeout)
        self._count()
        self._metrics.forget_reader(self._count)
