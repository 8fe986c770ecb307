"""Which instances a balancer gets to choose from: own zone first, all of them in a panic.

The lists are worked out when a service's instances change, so that an exchange finds them ready.
What depends on the exchange or on time is looked at only where there is something to decide: zones
that spill over, instances that have just come back, another attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import random
from typing import TYPE_CHECKING

from gatewayd import NoInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gatewayd import Balancer, Exchange, Instance, Service

_LEAST_SHARE = 0.1
"""Share of its normal requests that an instance begins with; Envoy's minimum."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What narrows the choice.

    Attributes:
        zone: The gateway's own zone; empty for no preference.
        overprovisioning: How many times its normal load a zone can take over.
        slow_start: Seconds in which an instance that has come back gets its full share.
        panic_threshold: Share of the usable instances; when fewer are available, all are used.

    """

    zone: str
    overprovisioning: float
    slow_start: float
    panic_threshold: float


class Candidates:
    """The instances of one service that a balancer chooses from.

    Args:
        balancer: Chooses.
        preferences: What narrows the choice.
        clock: The gateway's clock.

    Attributes:
        plain: What to choose from where nothing else is to be decided, else ``None``. While it is
            the service's own list, the balancer can be asked without going through here.
        balancer: As given.

    """

    def __init__(
        self, balancer: Balancer, preferences: Preferences, clock: Callable[[], float]
    ) -> None:
        self.plain: Sequence[Instance] | None = None
        self.balancer = balancer
        self._preferences = preferences
        self._clock = clock
        self._available: Sequence[Instance] = ()
        self._usable: Sequence[Instance] = ()
        self._near: Sequence[Instance] = ()
        self._far: Sequence[Instance] = ()
        self._near_share = 1.0
        self._warming: Sequence[Instance] = ()
        self._lists: dict[tuple[bool, int], Sequence[Instance]] = {}

    def pick(self, service: Service, exchange: Exchange) -> Instance:
        """Return the instance for an attempt.

        Raises:
            NoInstance: none may be used now.

        """
        if service.available is not self._available or service.usable is not self._usable:
            self._sort(service)
        if self.plain and not exchange.tried:
            return self.balancer.pick(self.plain, exchange)
        if not self._available:
            raise NoInstance
        return self._decide(exchange)

    def _sort(self, service: Service) -> None:
        """Work out the lists, after something has changed."""
        self._available, self._usable = service.available, service.usable
        wanted = self._preferences.panic_threshold * len(self._usable)
        panic = len(self._available) < wanted
        candidates = self._usable if panic and self._available else self._available
        self._near, self._far, self._near_share = candidates, (), 1.0
        zone = self._preferences.zone
        if zone and not self.balancer.affinity:
            self._prefer(zone, candidates)
        self._warming = ()
        self._lists = {}
        if self._preferences.slow_start and not self.balancer.affinity:
            warm = self._clock() - self._preferences.slow_start
            warming = (one for one in candidates if one.since > warm)
            self._warming = sorted(warming, key=lambda one: one.since)
        decided = self._near_share == 1.0 and not self._warming
        self.plain = self._near if decided and self._near else None

    def _prefer(self, zone: str, candidates: Sequence[Instance]) -> None:
        """Put the own zone first, and work out what share of the exchanges it can take."""
        near = tuple(one for one in candidates if one.zone == zone)
        if not near or len(near) == len(candidates):
            return
        normal = _weight(one for one in self._usable if one.zone == zone)
        self._near_share = min(1.0, self._preferences.overprovisioning * _weight(near) / normal)
        self._near, self._far = near, tuple(one for one in candidates if one.zone != zone)

    def _decide(self, exchange: Exchange) -> Instance:
        """Choose where zones spill over, instances are warming up, or this is another attempt."""
        spill = self._near_share < 1.0 and random() >= self._near_share  # noqa: S311  # spreads load
        first = self._warm_ones(spill) if self._warming else self._far if spill else self._near
        tried = exchange.tried
        if tried:
            others = (first, self._near, self._far)
            first = next(filter(None, (_without(one, tried) for one in others)), first)
        return self.balancer.pick(first, exchange)

    def _warm_ones(self, spill: bool) -> Sequence[Instance]:
        """Return a list that instances which are warming up are on for their share of the time.

        The share grows linearly, as Envoy's does with its default aggression. One draw decides on
        all of them, so that there are few different lists, which balancers can know again.
        """
        now, slow_start = self._clock(), self._preferences.slow_start
        if now >= self._warming[-1].since + slow_start:
            self._warming = ()
            self.plain = self._near if self._near_share == 1.0 else None
            return self._far if spill else self._near
        draw = random()  # noqa: S311  # spreads load
        warm = 0  # those that came back first are ahead
        for one in self._warming:
            if draw >= max((now - one.since) / slow_start, _LEAST_SHARE):
                break
            warm += 1
        known = self._lists.get((spill, warm))
        if known is None:
            every = self._far if spill else self._near
            known = _without(every, self._warming[warm:]) or every
            self._lists[spill, warm] = known
        return known


def _weight(instances: Iterable[Instance]) -> int:
    return sum(one.weight for one in instances)


def _without(instances: Sequence[Instance], tried: Sequence[Instance]) -> Sequence[Instance]:
    return tuple(one for one in instances if one not in tried)
