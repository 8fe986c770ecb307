"""The health of one service's instances: what checks say of them, and how they do in exchanges.

It is kept apart from the instances, because it outlives them: a reload that changes other settings
of a service makes new instances, and those that were found failing still are. While the exchanges
of the old generation end, both have instances at the same addresses; a change reaches both.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gatewayd.timers import NEVER

if TYPE_CHECKING:
    from gatewayd.events import Events
    from gatewayd.services.checks import Checks
    from gatewayd.services.instance import Instance
    from gatewayd.services.outlier import Outliers
    from gatewayd.services.service import Service
    from gatewayd.timers import Sweeper

logger = logging.getLogger("gatewayd.health")


@dataclass(frozen=True, slots=True)
class HealthChange:
    """The health of an instance changed.

    Attributes:
        service: Name of the service.
        url: The instance.
        change: What checks found (``unhealthy``, ``healthy``), or what outlier detection did
            (``ejected``, ``returned``).

    """

    service: str
    url: str
    change: Literal["unhealthy", "healthy", "ejected", "returned"]


class Health:
    """What is known of the health of one service's instances, by URL.

    Args:
        name: Name of the service.
        outliers: Judges the outcomes of exchanges; ``None`` where nothing is ejected.
        checks: Active checks; ``None`` where there are none.
        sweeper: Ends ejections.
        events: Are told of changes.

    """

    def __init__(
        self,
        name: str,
        outliers: Outliers | None,
        checks: Checks | None,
        sweeper: Sweeper,
        events: Events,
    ) -> None:
        self.name = name
        self.expires_at = NEVER
        self._outliers = outliers
        self._checks = checks
        self._sweeper = sweeper
        self._events = events
        self._unhealthy: set[str] = set()
        self._services: list[Service] = []

    def start(self) -> None:
        """Start the checks, once for all generations."""
        if self._checks is not None:
            self._checks.start(self)

    async def close(self) -> None:
        """Stop the checks."""
        self._sweeper.forget(self)
        if self._checks is not None:
            await self._checks.close()

    @property
    def urls(self) -> list[str]:
        """The instances of all generations."""
        return list(dict.fromkeys(url for one in self._services for url in one.instances))

    def _has(self, url: str) -> bool:
        """Whether it is still there: checks and exchanges may outlive their instance."""
        return any(url in one.instances for one in self._services)

    def attach(self, service: Service) -> None:
        """Follow the instances of a generation's service."""
        self._services.append(service)

    def detach(self, service: Service) -> None:
        """Follow them no more."""
        self._services.remove(service)

    def adopt(self, instance: Instance) -> None:
        """Tell a new instance what is known of its address, and hear how its exchanges end."""
        instance.checked = instance.url not in self._unhealthy
        if self._outliers is not None:
            instance.ejected_until = self._outliers.ejected_until(instance.url)
            instance.outcome = self._record

    def forget_gone(self) -> None:
        """Drop what is known of instances that no generation has any more."""
        urls = self.urls
        self._unhealthy.intersection_update(urls)
        if self._outliers is not None:
            self._outliers.forget(urls)
            self._watch()

    def is_checked(self, url: str) -> bool:
        """Return what checks say of an instance, true where they have not found otherwise."""
        return url not in self._unhealthy

    def set_checked(self, url: str, healthy: bool, reason: str) -> None:
        """Take over what checks say of an instance; ``reason`` is for the log."""
        if healthy == self.is_checked(url) or not self._has(url):
            return
        if healthy:
            self._unhealthy.discard(url)
        else:
            self._unhealthy.add(url)
        for service in self._services:
            instance = service.instances.get(url)
            if instance is not None:
                instance.checked = healthy
                service.refresh()
        self._tell(url, "healthy" if healthy else "unhealthy", reason)

    def _record(self, url: str, failed: bool) -> None:
        """Count how an exchange ended, and eject the instance if that was one too many."""
        if self._outliers is None or not self._services:
            return
        if failed and not self._has(url):
            return  # it would count among the ejected, and come back as one
        now = self._sweeper.clock()
        count = len(self._services[-1].usable)
        until = self._outliers.record(url, failed, now, count)
        if until:
            self._set_ejected(url, until)
            self._watch()
            self._tell(url, "ejected", f"for {until - now:g} s")

    def expire(self, now: float) -> None:
        """End the ejections that are over; see :class:`gatewayd.timers.Expiring`."""
        if self._outliers is not None:
            for url in self._outliers.take_back(now):
                self._set_ejected(url, 0.0)
                self._tell(url, "returned", "its ejection is over")
            self._watch()

    def _set_ejected(self, url: str, until: float) -> None:
        for service in self._services:
            instance = service.instances.get(url)
            if instance is not None:
                instance.ejected_until = until
                service.refresh()

    def _watch(self) -> None:
        self.expires_at = NEVER if self._outliers is None else self._outliers.next_return()
        if self.expires_at < NEVER:
            self._sweeper.watch(self)
        else:
            self._sweeper.forget(self)

    def _tell(
        self, url: str, change: Literal["unhealthy", "healthy", "ejected", "returned"], reason: str
    ) -> None:
        level = logging.WARNING if change in ("unhealthy", "ejected") else logging.INFO
        logger.log(level, "service %s: instance %s %s (%s)", self.name, url, change, reason)
        self._events.publish(HealthChange(self.name, url, change))

    def __repr__(self) -> str:
        return f"<health of {self.name}: {len(self._unhealthy)} unhealthy>"
