"""What limits an exchange: which buckets, of which limits.

Finding that out costs microseconds, and it is the same for all exchanges of one caller on one
route; so it is remembered. What is remembered is bounded, and can be found out again at any time.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from gatewayd_filters.token_bucket.backend import Charge, Limit
from gatewayd_filters.token_bucket.keys import Keys, plain, scope_of
from gatewayd_filters.token_bucket.limits import parse_limit
from gatewayd_filters.token_bucket.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from gatewayd import Cell, Exchange, Gateway
    from gatewayd_filters.token_bucket.config import TokenBucketConfig

_REMEMBERED = 16_384  # as many as there may be routes; 10 MB at worst
_LIMITS = ("rate", "burst", "limits", "roles")
logger = logging.getLogger("gatewayd.filters.token_bucket")


class Plan:
    """What limits the exchanges of one caller on one route.

    Attributes:
        charges: The buckets; none where nothing limits them.
        policy: The limits, for the fields of responses.
        route, caller: For records.
        granted: Counts tokens, for each bucket.
        refused: Counts requests.

    """

    __slots__ = ("caller", "charges", "granted", "policy", "refused", "route")

    def __init__(
        self,
        charges: tuple[Charge, ...],
        policy: Policy,
        route: str,
        caller: str,
        granted: tuple[Cell, ...],
        refused: Cell,
    ) -> None:
        self.charges = charges
        self.policy = policy
        self.route = route
        self.caller = caller
        self.granted = granted
        self.refused = refused

    def count(self, charges: Sequence[Charge]) -> None:
        """Count tokens that were taken."""
        if len(charges) == 1:  # mostly; the loop takes three times as long
            self.granted[0].value += charges[0].cost
            return
        for cell, charge in zip(self.granted, charges, strict=True):
            cell.value += charge.cost

    def share(self, nodes: int) -> tuple[Charge, ...]:
        """Return the charges on buckets of this node, which has one of ``nodes`` shares.

        A bucket holds one request's cost at least, or nothing could pass.
        """
        return tuple(
            Charge(
                "local:" + one.key,
                Limit(
                    one.limit.rate / nodes,
                    max(one.limit.burst / nodes, one.cost),
                    one.limit.window,
                ),
                one.cost,
            )
            for one in self.charges
        )


class Plans:
    """Finds the plan of an exchange.

    Args:
        config: The filter's settings.
        gateway: What the host gives to filters.

    """

    def __init__(self, config: TokenBucketConfig, gateway: Gateway) -> None:
        self._config = config
        self._keys = Keys(config.parts, config.ipv6_prefix)
        self.identity = self._keys.identity
        self.known: dict[Hashable, Plan] = {}
        self._policy = Policy(config.parsed, config.headers)
        self._roles = [
            (role, Policy(limits, config.headers)) for role, limits in config.parsed_roles
        ]
        self._own = lru_cache(maxsize=1024)(self._parse_own)
        metrics = gateway.metrics
        self._granted = metrics.counter(
            "gatewayd_rate_limit_granted_tokens", "Tokens granted.", ("limit",), max_cells=1024
        )
        self._refused = metrics.counter(
            "gatewayd_rate_limit_refused",
            "Requests above a limit; in shadow mode they passed all the same.",
            ("limit", "mode"),
            max_cells=1024,
        )
        self._invalid = metrics.counter(
            "gatewayd_rate_limit_invalid_own_limits",
            "Limits of API keys that cannot be read; the configured limit holds instead.",
        ).labels()

    def charges(self, prefix: str, limit: int) -> list[Charge]:
        """Return the charges on buckets whose keys begin so, of callers seen lately."""
        found: dict[str, Charge] = {}
        for plan in self.known.values():
            for charge in plan.charges:
                if charge.key.startswith(prefix):
                    found[charge.key] = charge
            if len(found) >= limit:
                break
        return list(found.values())[:limit]

    def find(self, exchange: Exchange, identity: Hashable) -> Plan:
        """Work out the plan of an exchange, and remember it."""
        if len(self.known) >= _REMEMBERED:
            self.known.clear()
        plan = self.known[identity] = self._make(exchange)
        return plan

    def _make(self, exchange: Exchange) -> Plan:
        config = self._config
        policy, caller = self._limits_of(exchange)
        name = config.name or scope_of(exchange, config.scope, "token_bucket", _LIMITS)
        single = len(policy.limits) == 1
        labels = [name if single else f"{name}:{period}" for period in policy.names]
        charges = tuple(
            Charge(f"{label}|{caller}", limit, config.cost)
            for label, limit in zip(labels, policy.limits, strict=True)
        )
        route = exchange.route
        return Plan(
            charges,
            policy,
            "" if route is None else route.name,
            caller,
            tuple(self._granted.labels(label) for label in labels),
            self._refused.labels(name, "shadow" if config.shadow else "enforced"),
        )

    def _limits_of(self, exchange: Exchange) -> tuple[Policy, str]:
        """Return the limits that hold for the caller, and the key of its bucket."""
        principal = exchange.principal
        if principal is not None:
            if principal.rate_limit is not None:
                own = self._own(principal.rate_limit)
                if own is not None:
                    return own, self._keys.caller(exchange)
            for role, policy in self._roles:
                if role in principal.roles:
                    return policy, f"role={plain(role)}|{self._keys.text(exchange)}"
        return self._policy, self._keys.text(exchange)

    def _parse_own(self, text: str) -> Policy | None:
        """Read a limit that came with a credential; fall back, with a word, where it is none."""
        reason = f"a request costs {self._config.cost:g} tokens"
        try:
            limit = parse_limit(text)
        except ValueError as error:
            reason = str(error)
        else:
            if limit.burst >= self._config.cost:
                return Policy((limit,), self._config.headers)
        self._invalid.value += 1
        logger.warning("an API key's limit %.80r cannot be used: %s", text, reason)
        return None
