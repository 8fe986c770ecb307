"""Instances without connections, balancers by name, and a test of shares."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, cast

from gatewayd import Instance, InstanceSpec, Service
from gatewayd.config.schema import ServiceConfig
from gatewayd.testing import FakeClock, make_gateway
from gatewayd_filters.balancers.strategy import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd import Balancer
    from gatewayd.timers import Clock
    from gatewayd.upstream.pool import Pool


class FakePool:
    """Says how many exchanges an instance is working on."""

    def __init__(self) -> None:
        self.active = 0


def url(number: int) -> str:
    """Return the URL of an instance."""
    return f"http://10.0.{number // 250}.{number % 250}:80"


def make_instances(
    weights: Sequence[int], zones: Sequence[str] = (), active: Sequence[int] = ()
) -> tuple[Instance, ...]:
    """Make an instance for each weight."""
    instances = []
    for number, weight in enumerate(weights):
        zone = zones[number] if zones else ""
        pool = FakePool()
        pool.active = active[number] if active else 0
        spec = InstanceSpec(url(number), weight, zone)
        instances.append(Instance("api", spec, cast("Pool", pool)))
    return tuple(instances)


def service_of(instances: Sequence[Instance]) -> Service:
    """Make the service ``api`` with these instances."""
    service = Service("api", ServiceConfig(), FakeClock())
    service.replace(instances)
    return service


def make_balancer(name: str, *, clock: Clock | None = None, **settings: Any) -> Balancer:
    """Make a balancer with settings."""
    return prepare({"name": name, **settings}, make_gateway(clock=clock), "strategy")()


def assert_shares(counts: Mapping[str, int], weights: Mapping[str, float]) -> None:
    """Assert that picks are distributed by weight, with 99.9 % confidence.

    Pearson's chi-squared test: a right balancer fails it once in a thousand seeds, and tests fix
    theirs. The critical value is Wilson and Hilferty's approximation, good to 1 % and better.
    """
    picks, total = sum(counts.values()), sum(weights.values())
    assert counts.keys() <= weights.keys()
    expected = {name: picks * weight / total for name, weight in weights.items()}
    assert min(expected.values()) >= 5, "too few picks for the test to mean something"
    statistic = sum((counts.get(one, 0) - mean) ** 2 / mean for one, mean in expected.items())
    freedom = len(weights) - 1
    spread = 2 / (9 * freedom)
    critical = freedom * (1 - spread + 3.0902 * sqrt(spread)) ** 3
    assert statistic < critical, f"{dict(counts)} for {dict(weights)}: {statistic:.1f}"
