"""Balancer ``random``: chance, by weight."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from random import random
from typing import TYPE_CHECKING, Any

from gatewayd import Balancer
from gatewayd_filters.balancers.per_list import PerList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Exchange, Gateway, Instance


class Random(Balancer):
    """Picks at random, by weight.

    It knows nothing of other picks, so no pattern of requests and no number of workers or nodes can
    bring it into step with anything.
    """

    name = "random"

    def __init__(self, config: Any, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._limits = PerList(_limits)

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:  # noqa: ARG002
        """See :meth:`gatewayd.Balancer.pick`."""
        limits = self._limits(instances)
        return instances[bisect(limits, random() * limits[-1])]  # noqa: S311  # spreads load


def _limits(instances: Sequence[Instance]) -> list[int]:
    """Return where the share of each instance ends, on a line as long as all weights."""
    return list(accumulate(one.weight for one in instances))
