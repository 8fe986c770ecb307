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
    """

    name = "round_robin"

    def __init__(self, config: Any, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        start = random.randrange(1 << 16)  # noqa: S311  # spreads load, protects nothing
        self._turn = itertools.count(start).__next__

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:  # noqa: ARG002
        """See :meth:`gatewayd.Balancer.pick`."""
        return instances[self._turn() % len(instances)]
