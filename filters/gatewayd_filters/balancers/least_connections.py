"""Balancer ``least_connections``: whoever has the least to do, for its weight."""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING

from gatewayd import Balancer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Exchange, Instance

_COMPARED = 16
"""Instances that are compared for one pick. Already two random ones are nearly as good as all
(Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001)."""

_INFINITE = float("inf")


class LeastConnections(Balancer):
    """Picks the instance with the fewest exchanges for its weight; ties by chance and weight.

    What counts are the exchanges of this worker, until the last byte of their responses. Of more
    than 16 instances it compares 16, a different stretch of the list each time.
    """

    name = "least_connections"

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:  # noqa: ARG002
        """See :meth:`gatewayd.Balancer.pick`."""
        if len(instances) > _COMPARED:
            instances = _stretch(instances)
        best, least, tied = instances[0], _INFINITE, 0
        for instance in instances:
            weight = instance.weight
            load = instance.pool.active / weight  # as instance.active, a call less
            if load > least:
                continue
            if load < least:
                best, least, tied = instance, load, weight
            else:
                tied += weight
                if random() * tied < weight:  # noqa: S311  # spreads load
                    best = instance
        return best


def _stretch(instances: Sequence[Instance]) -> Sequence[Instance]:
    """Return neighbours from a random place on; the first one follows the last."""
    start = int(random() * len(instances))  # noqa: S311  # spreads load
    found = instances[start : start + _COMPARED]
    missing = _COMPARED - len(found)
    return [*found, *instances[:missing]] if missing else found
