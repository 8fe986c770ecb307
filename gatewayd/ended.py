"""Exchanges that have ended, for whoever tells of them: logs, metrics.

They are handed over many at once. A loop over sixty exchanges takes half the time for each that
sixty calls take, one after each exchange, since what it needs stays in the processor's caches
meanwhile. What must happen at once, such as giving something back, belongs to
``Exchange.on_finish``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayd.exchange import Exchange
    from gatewayd.timers import Clock

    Reporter = Callable[[Sequence[Exchange]], None]

BATCH = 64
"""Exchanges that are handed over at once: some 200 KB, which the processor's second cache holds."""

DELAY_SECONDS = 0.1
"""Longest time for which an exchange waits for others."""

logger = logging.getLogger("gatewayd.exchanges")


class EndedExchanges:
    """Gathers the exchanges of one generation that have ended.

    Args:
        clock: The gateway's clock.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reporters: list[Reporter] = []
        self._waiting: list[Exchange] = []
        self._timer: asyncio.TimerHandle | None = None

    def report_to(self, reporter: Reporter) -> None:
        """Have ``reporter`` told of all exchanges, refused ones included."""
        self._reporters.append(reporter)

    def add(self, exchange: Exchange, error: BaseException | None) -> None:
        """Take notice that an exchange has ended; for the server."""
        if not self._reporters and not exchange.reporters:
            return
        exchange.ended_at = self._clock()
        if error is not None:
            exchange.error = error
        waiting = self._waiting
        waiting.append(exchange)
        if len(waiting) >= BATCH:
            self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(DELAY_SECONDS, self._flush_late)

    def flush(self) -> None:
        """Tell the reporters of those that wait."""
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        told: dict[Reporter, list[Exchange]] = dict.fromkeys(self._reporters, batch)
        for exchange in batch:
            if exchange.reporters:  # to begin a loop over none takes longer
                for reporter in exchange.reporters:
                    told.setdefault(reporter, []).append(exchange)
        for reporter, exchanges in told.items():
            try:
                reporter(exchanges)
            except Exception:
                logger.exception("%d exchanges could not be reported", len(exchanges))

    def _flush_late(self) -> None:
        self._timer = None
        self.flush()

    def close(self) -> None:
        """Tell of those that wait; there will be no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
