"""Balancer ``consistent_hash``: the same client, or key, to the same instance.

A ring (see :mod:`gatewayd_filters.balancers.ring`) with bounded loads: an instance that has more
than its share to do passes new exchanges on to the next one on the ring, so that one popular key
cannot sink it (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import getrandbits
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from gatewayd import Balancer, StrategyConfig
from gatewayd_filters.balancers.client_key import PATTERN, key_reader
from gatewayd_filters.balancers.per_list import PerList
from gatewayd_filters.balancers.ring import Ring, place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd import Exchange, Gateway, Instance

_SHORT = 64
"""Bytes of a key up to which its place is remembered: clients are not to fill memory with it."""


class ConsistentHashConfig(StrategyConfig):
    """Settings of `consistent_hash`."""

    on: Annotated[str, Field(pattern=PATTERN)] = "ip"
    """What a client is known by: `ip`, `header:NAME`, `cookie:NAME` or `query:NAME` (compared as it
    was sent). A request without it goes to a random instance."""
    load_factor: float = Field(2.0, ge=1, le=1000, allow_inf_nan=False)
    """How many times its share of the exchanges an instance may have before the next one takes
    over. HAProxy recommends 1.25 to 2; a worker sees few at a time, so the upper end."""


class ConsistentHash(Balancer):
    """Sends equal keys to the same instance, and moves as few as can be when instances change.

    An instance that has several times its share of the exchanges under way (`load_factor`) passes
    new ones on to the next. All nodes and workers agree on the order.
    """

    name = "consistent_hash"
    Config = ConsistentHashConfig
    affinity = True

    def __init__(self, config: ConsistentHashConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._key = key_reader(config.on)
        self._factor = config.load_factor
        self._ring: Ring | None = None
        self._members = PerList(self._admit)
        self._known = lru_cache(maxsize=8192)(place_of)  # most clients ask more than once
        self._loads: dict[str, int] = {}
        self._under_way = 0

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:
        """See :meth:`gatewayd.Balancer.pick`."""
        key = self._key(exchange)
        if key is None:
            place = getrandbits(64)
        else:
            place = self._known(key) if len(key) <= _SHORT else place_of(key)
        chosen = self._find(self._members(instances), place)
        url = chosen.url
        self._loads[url] = self._loads.get(url, 0) + 1
        self._under_way += 1
        return chosen

    def _find(self, members: _Members, place: int) -> Instance:
        """Return the first instance at or after a place that has room."""
        by_url, owners, loads = members.by_url, members.ring.owners, self._loads
        share = self._factor * (self._under_way + 1) / members.weight
        first = members.ring.find(place)
        for index in range(first - len(owners), first):  # below 0 it counts from the end
            url = owners[index]
            instance = by_url.get(url)
            # One more must fit into the share, rounded up: less than it before, that is.
            if instance is not None and loads.get(url, 0) < share * instance.weight:
                return instance
        # Only rounding gets here: the shares of all add up to more than there is under way.
        return next(iter(by_url.values()))

    def _admit(self, instances: Sequence[Instance]) -> _Members:
        """Prepare for a list. The ring keeps those that are away, unless they become many."""
        weights = {one.url: one.weight for one in instances}
        ring = self._ring
        if ring is None or not weights.items() <= ring.weights.items():
            kept = {} if ring is None or len(ring.weights) > 2 * len(weights) else ring.weights
            ring = self._ring = Ring({**kept, **weights})
        by_url = {one.url: one for one in instances}
        return _Members(ring, by_url, sum(weights.values()))

    def done(self, instance: Instance, seconds: float, error: BaseException | None) -> None:  # noqa: ARG002
        """Count one less; see :meth:`gatewayd.Balancer.done`."""
        self._under_way -= 1
        left = self._loads.pop(instance.url) - 1
        if left:
            self._loads[instance.url] = left


@dataclass(frozen=True, slots=True)
class _Members:
    """The instances of one list, the ring that they are on, and the sum of their weights."""

    ring: Ring
    by_url: Mapping[str, Instance]
    weight: int
