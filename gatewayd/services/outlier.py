"""Outlier detection: which instance fails real exchanges so much that it is left out for a while.

Each ejection of an instance is longer than the one before, by ``base_ejection``. For every such
time that it then serves without another ejection, one of them is forgiven. As in Envoy, whose
outlier detection this resembles; but the share of ejected instances is a limit without exception,
so that a lone instance is never ejected.

No I/O and no clock: :mod:`gatewayd.services.health` hands in outcomes and acts on what comes back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gatewayd.resilience.window import TimeWindow

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatewayd.config.schema import OutlierConfig


class _Record:
    """What one instance has shown."""

    __slots__ = ("consecutive", "ejected_until", "ejections", "returned_at", "window")

    def __init__(self, seconds: float) -> None:
        self.consecutive = 0
        self.window = TimeWindow(seconds)
        self.ejections = 0
        self.ejected_until = 0.0
        self.returned_at = 0.0


class Outliers:
    """The records of one service's instances, by URL.

    Args:
        config: When to eject, and for how long.

    """

    def __init__(self, config: OutlierConfig) -> None:
        self._config = config
        self._records: dict[str, _Record] = {}

    def record(self, url: str, failed: bool, now: float, instances: int) -> float:
        """Count the outcome of an exchange.

        Args:
            url: The instance that it went to.
            failed: Whether the instance failed it.
            now: The time, in seconds that never go back.
            instances: How many the service has, for the share that may be ejected.

        Returns:
            Until when the instance is to be ejected; 0 where it is not, or is already.

        """
        record = self._records.get(url)
        if record is None:
            record = self._records[url] = _Record(self._config.window)
        if record.ejected_until:
            return 0.0  # it began before the ejection
        record.window.add(failed, False, now)
        if not failed:
            record.consecutive = 0
            return 0.0
        record.consecutive += 1
        if not self._too_many(record) or not self._may_eject(instances):
            return 0.0
        return self._eject(record, now)

    def ejected_until(self, url: str) -> float:
        """Return when an instance's ejection ends, 0 where it is not ejected."""
        record = self._records.get(url)
        return 0.0 if record is None else record.ejected_until

    def next_return(self) -> float:
        """Return when the next ejection ends; infinity where there is none."""
        return min(
            (one.ejected_until for one in self._records.values() if one.ejected_until),
            default=math.inf,
        )

    def take_back(self, now: float) -> list[str]:
        """End the ejections that are over; return whose."""
        due = [url for url, one in self._records.items() if 0 < one.ejected_until <= now]
        for url in due:
            record = self._records[url]
            record.ejected_until = 0.0
            record.returned_at = now
            record.consecutive = 0
            record.window = TimeWindow(self._config.window)
        return due

    def forget(self, present: Collection[str]) -> None:
        """Drop the records of all instances that are not among ``present``."""
        for url in self._records.keys() - set(present):
            del self._records[url]

    def _too_many(self, record: _Record) -> bool:
        config, window = self._config, record.window
        if config.consecutive_failures and record.consecutive >= config.consecutive_failures:
            return True
        return (
            config.failure_ratio > 0
            and window.calls >= config.min_requests
            and window.failures >= config.failure_ratio * window.calls
        )

    def _may_eject(self, instances: int) -> bool:
        ejected = sum(1 for one in self._records.values() if one.ejected_until)
        return ejected + 1 <= self._config.max_ejected_share * instances

    def _eject(self, record: _Record, now: float) -> float:
        config = self._config
        served = now - record.returned_at
        forgiven = int(min(served // config.base_ejection, record.ejections))
        record.ejections += 1 - forgiven
        length = min(config.base_ejection * record.ejections, config.max_ejection)
        record.ejected_until = now + length
        return record.ejected_until
