"""Balancer ``round_robin``: one instance after the other."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

from gatewayd import Balancer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Exchange, Gateway, Instance


class RoundRobin(Balancer):
    """Takes the instances in turn, whatever their weights.

    Workers begin at random places: in step they would all send to the same instance at once.
    Attempts that are made again go to a random one of the others, and take no turn.
    """

    name = "round_robin"

    def __init__(self, config: Any, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        start = random.randrange(1 << 16)  # noqa: S311  # spreads load, protects nothing
        self._turn = itertools.count(start).__next__

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:
        """See :meth:`gatewayd.Balancer.pick`."""
        if exchange.tried:
            # With turns, an instance that fails would bring them into step: of two, each exchange's
            # first attempt would go to it.
            return random.choice(instances)  # noqa: S311  # spreads load
        return instances[self._turn() % len(instances)]
