"""The breakers in use: a gauge of their states, and the end of those whose instances are gone.

Both are looked after when somebody asks: a breaker that nobody calls any more says nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gatewayd import BreakerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayd import Breaker, Metrics, Service

Breakers: TypeAlias = "dict[str, dict[str, Breaker]]"
"""By service, then by URL of the instance; by the service's name where it has one for all."""

_VALUES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class BreakersInUse:
    """The breakers of all filters that run now, those of retiring generations as well.

    Args:
        metrics: Where their states are shown.

    """

    def __init__(self, metrics: Metrics) -> None:
        self._users: dict[object, tuple[Breakers, Mapping[str, Service]]] = {}
        self._metrics = metrics
        self._gauge = metrics.gauge(
            "gatewayd_breaker_state",
            "State of a breaker in the worker where it is worst: 0 closed, 1 half-open, 2 open.",
            ("service", "target"),
            combine="max",
        )
        metrics.on_read(self._read)

    def add(self, user: object, breakers: Breakers, services: Mapping[str, Service]) -> None:
        """Show the breakers of a filter until :meth:`remove`; filters may share some."""
        self._users[user] = breakers, services

    def remove(self, user: object) -> None:
        """Undo :meth:`add`, if it was done."""
        self._users.pop(user, None)

    def forget_gone(self, service: str) -> None:
        """Drop the breakers of a service's instances that no filter can send to any more."""
        present = {service}
        for _, services in self._users.values():
            if service in services:
                present.update(services[service].instances)
        for of_service in self._of(service):
            for target in of_service.keys() - present:
                del of_service[target]

    def _of(self, service: str) -> Iterator[dict[str, Breaker]]:
        for breakers, _ in self._users.values():
            if service in breakers:
                yield breakers[service]

    def _read(self) -> None:
        worst: dict[tuple[str, str], int] = {}
        for service in {name for breakers, _ in self._users.values() for name in breakers}:
            self.forget_gone(service)
            for of_service in self._of(service):
                for target, breaker in of_service.items():
                    key = service, target
                    worst[key] = max(worst.get(key, 0), _VALUES[breaker.state])
        for gone in self._gauge.cells().keys() - worst.keys():
            self._gauge.forget(*gone)
        for key, value in worst.items():
            self._gauge.labels(*key).value = value

    def close(self) -> None:
        """Show nothing any more."""
        self._metrics.forget_reader(self._read)
        for gone in tuple(self._gauge.cells()):
            self._gauge.forget(*gone)
