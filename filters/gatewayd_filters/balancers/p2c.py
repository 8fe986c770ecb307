"""Balancer ``p2c``: the better one of two, by peak EWMA latency and exchanges under way.

Two candidates are enough to keep away from bad instances and few enough that nobody floods the
best one. What they are compared by is Finagle's "peak EWMA" cost: an average of latencies in which
a slow answer counts at once and fades with time, times the exchanges that wait already.
"""

from __future__ import annotations

import asyncio
from math import exp
from random import random
from typing import TYPE_CHECKING

from pydantic import Field

from gatewayd import (
    Balancer,
    ConnectTimeout,
    Seconds,
    StrategyConfig,
    UpstreamError,
    UpstreamTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Exchange, Gateway, Instance


_FEWEST_SWEPT = 256


class PeakEwmaConfig(StrategyConfig):
    """Settings of `p2c`."""

    decay: Seconds = 10.0
    """Seconds after which a slow answer counts a third (1/e). Finagle's default."""
    failure_latency: Seconds = 5.0
    """Seconds that a failed attempt counts for at least: one that refuses at once is not fast.
    The default of `connect_timeout`."""
    unknown_latency: float = Field(1.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds that are assumed of an instance while its first answer is out, so that not everybody
    goes there. A lone first request is let through. Finagle's default."""


class PowerOfTwoChoices(Balancer):
    """Takes the better one of two random instances, by latency and exchanges under way.

    An instance that becomes slow gets less at once and is forgiven with time. Weights divide the
    cost.
    """

    name = "p2c"
    Config = PeakEwmaConfig

    def __init__(self, config: PeakEwmaConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._decay = config.decay
        self._failure = config.failure_latency
        self._unknown = config.unknown_latency
        self._latencies: dict[str, _Latency] = {}
        self._waits: dict[str, _Latency] = {}  # of instances that have not answered yet
        self._swept_at = _FEWEST_SWEPT

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:  # noqa: ARG002
        """See :meth:`gatewayd.Balancer.pick`."""
        count = len(instances)
        if count == 1:
            return instances[0]
        one = int(random() * count)  # noqa: S311  # spreads load
        other = int(random() * (count - 1))  # noqa: S311  # spreads load
        first, second = instances[one], instances[other + (other >= one)]
        return first if self._cost(first) <= self._cost(second) else second

    def _cost(self, instance: Instance) -> float:
        active = instance.pool.active  # as instance.active, a call less
        latency = self._latencies.get(instance.url)
        if latency is None:
            return max(self._unknown * active, self._waited(instance)) / instance.weight
        faded = latency.seconds * exp((latency.at - self.clock()) / self._decay)
        return faded * (active + 1) / instance.weight

    def _waited(self, instance: Instance) -> float:
        """Return what is left of how long an instance was waited for that has not answered yet."""
        wait = self._waits.get(instance.url)
        if wait is None:
            return 0.0
        return wait.seconds * exp((wait.at - self.clock()) / self._decay)

    def done(self, instance: Instance, seconds: float, error: BaseException | None) -> None:
        """Take the latency in; see :meth:`gatewayd.Balancer.done`.

        A client that left, or an attempt that was overtaken, proves only that it took at least so
        long; before the first answer as well, or an instance that hangs from the beginning would
        stay the most welcome one. A refusal, as of an open breaker, and a time-out that the
        instance is not to blame for say nothing of it.
        """
        latency = self._latencies.get(instance.url)
        if isinstance(error, UpstreamError):
            late = isinstance(error, (UpstreamTimeout, ConnectTimeout))
            if late and not error.instance_failed:
                return
            seconds = max(seconds, self._failure)
        elif isinstance(error, asyncio.CancelledError):
            if latency is None:
                self._wait_in_vain(instance, seconds)
                return
            if seconds <= latency.seconds:
                return
        elif error is not None:
            return
        now = self.clock()
        if latency is None:
            self._sweep(now)
            self._waits.pop(instance.url, None)
            self._latencies[instance.url] = _Latency(seconds, now)
            return
        old = exp((latency.at - now) / self._decay)
        faded = latency.seconds * old
        latency.seconds = max(seconds, faded + seconds * (1 - old))
        latency.at = now

    def _wait_in_vain(self, instance: Instance, seconds: float) -> None:
        now, before = self.clock(), self._waited(instance)
        self._sweep(now)
        self._waits[instance.url] = _Latency(max(seconds, before), now)

    def _sweep(self, now: float) -> None:
        """Drop latencies that have faded to nothing, before those of gone instances become many."""
        if len(self._latencies) + len(self._waits) < self._swept_at:
            return
        oldest = now - 10 * self._decay
        self._latencies = {url: one for url, one in self._latencies.items() if one.at > oldest}
        self._waits = {url: one for url, one in self._waits.items() if one.at > oldest}
        left = len(self._latencies) + len(self._waits)
        self._swept_at = max(_FEWEST_SWEPT, 2 * left)


class _Latency:
    """Seconds that an instance takes, and when that was computed."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float, at: float) -> None:
        self.seconds = seconds
        self.at = at
