"""Ended spans on their way to the collector: a bounded queue, and a thread that empties it.

OpenTelemetry's own batch processor drops without telling, and its flush knows no deadline. Here a
full queue costs a span and a count, never a wait, and the end of the process waits no longer than
it was told to.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from gatewayd import Cell

logger = logging.getLogger("gatewayd.filters.tracing")
# OpenTelemetry's exporter tells of each batch that fails, once a second or more in an outage.
_exporter_log = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
_MOST_TOLD = 8  # kinds of events of the exporter in one outage; it has some five


class SpanQueue(SpanProcessor):
    """Takes ended spans and has them exported in batches.

    Args:
        exporter: Sends a batch; used by the thread only. Its calls are bounded in time.
        interval: Seconds for which a span waits for company at most.
        queue_size: Spans that may wait.
        batch_size: Spans in one batch at most.
        exported, dropped: Count spans.

    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        interval: float,
        queue_size: int,
        batch_size: int,
        exported: Cell,
        dropped: Cell,
    ) -> None:
        self._exporter = exporter
        self._interval = interval
        self._queue_size = queue_size
        self._batch_size = batch_size
        self._exported = exported
        self._dropped = dropped
        self._waiting: deque[ReadableSpan] = deque()
        self._taking = threading.Lock()  # spans out of the queue, which both threads do at the end
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._failing = False
        self._told: set[str] = set()  # by the exporter, in this outage
        # A daemon: a collector that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="gatewayd spans", daemon=True)
        _exporter_log.addFilter(self._is_new)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span; called on the event loop's thread."""
        if len(self._waiting) >= self._queue_size or self._closing.is_set():
            self._dropped.value += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= self._batch_size:
            self._wake.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._interval)
            self._wake.clear()
            self._send_all()
        self._send_all()
        _exporter_log.removeFilter(self._is_new)

    def _send_all(self) -> None:
        while batch := self._take(self._batch_size):
            try:
                sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
            except Exception:
                logger.exception("spans cannot be exported")
                sent = False
            (self._exported if sent else self._dropped).value += len(batch)
            self._log_change(failing=not sent)

    def _take(self, most: int) -> list[ReadableSpan]:
        """Take spans out of the queue, those that have waited longest."""
        with self._taking:
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def _log_change(self, *, failing: bool) -> None:
        """Log the beginning and the end of an outage, not each batch of it."""
        if not failing:
            self._told.clear()
        if failing != self._failing:
            self._failing = failing
            if failing:
                logger.warning("the trace collector takes no spans; they are dropped and counted")
            else:
                logger.info("the trace collector takes spans again")

    def _is_new(self, event: logging.LogRecord) -> bool:
        """Whether the exporter has not said the like in this outage; for the log."""
        if event.thread != self._thread.ident:
            return True  # of another queue's exporter
        kind = str(event.msg)
        if kind in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add(kind)
        return True

    def close(self, timeout: float) -> None:
        """Send what waits, for so many seconds at most; blocks, so it is for another thread."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            # Taken away from the thread, which would count them again as soon as it goes on.
            self._dropped.value += len(self._take(self._queue_size))
        self._exporter.shutdown()  # also ends the pause before another try
