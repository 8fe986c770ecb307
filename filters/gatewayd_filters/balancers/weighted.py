"""Balancer ``weighted``: smooth weighted round robin, pick for pick as nginx's.

nginx adds to every instance its weight, takes the one that stands highest (the first of equals),
and subtracts the sum of all weights from it. After ``k`` picks an instance of weight ``w`` that was
taken ``c`` times stands at ``k * w - c * sum``: it is how far it lags behind its share.

So instances of equal weight differ only in how often they were taken, and they are taken in turn.
One comparison per *different weight* therefore finds the same instance as one per instance, which
is what makes a thousand instances cost as little as ten.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from gatewayd import Balancer
from gatewayd_filters.balancers.per_list import PerList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Exchange, Gateway, Instance


_FIRST_STEPS = 64
"""Steps among which a schedule begins. Shares are right over any stretch that is not very short."""


class Weighted(Balancer):
    """Takes the instances in turn, each as often as its weight says, evenly spread.

    Weights 5, 1, 1 give a a b a c a a, not a a a a a b c. Workers begin at random places. The cost
    of a pick grows with the number of different weights, not with that of instances.
    """

    name = "weighted"

    def __init__(self, config: Any, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._schedules = PerList(_begin_anywhere)

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:  # noqa: ARG002
        """See :meth:`gatewayd.Balancer.pick`."""
        return self._schedules(instances).pick()


def _begin_anywhere(instances: Sequence[Instance]) -> Schedule:
    """Begin at a random instance and step, so that also lists that are used once get it right."""
    turn = random.randrange(len(instances))  # noqa: S311  # spreads load
    schedule = Schedule([*instances[turn:], *instances[:turn]])
    for _ in range(random.randrange(min(schedule.length, _FIRST_STEPS))):  # noqa: S311  # as above
        schedule.pick()
    return schedule


class Schedule:
    """The order in which instances are taken.

    Args:
        instances: The instances, with weights above 0.

    Attributes:
        length: Picks after which the order repeats; a divisor of it may do.

    """

    def __init__(self, instances: Sequence[Instance]) -> None:
        self.length = sum(one.weight for one in instances)
        self._picks = 0
        members: dict[int, list[tuple[int, Instance]]] = {}
        for place, instance in enumerate(instances):
            members.setdefault(instance.weight, []).append((place, instance))
        self._groups = [_Group(weight, group) for weight, group in members.items()]

    def pick(self) -> Instance:
        """Return the next instance."""
        self._picks = picks = self._picks + 1
        total = self.length
        best = self._groups[0]
        if len(self._groups) > 1:
            most = place = -1
            for group in self._groups:
                rounds, turn = divmod(group.taken, group.size)
                lag = picks * group.weight - rounds * total
                if lag > most or (lag == most and group.members[turn][0] < place):
                    best, most, place = group, lag, group.members[turn][0]
        instance = best.members[best.taken % best.size][1]
        best.taken += 1
        return instance


class _Group:
    """Instances of the same weight, with their places in the list, and how often one was taken."""

    __slots__ = ("members", "size", "taken", "weight")

    def __init__(self, weight: int, members: list[tuple[int, Instance]]) -> None:
        self.weight = weight
        self.members = members
        self.size = len(members)
        self.taken = 0
