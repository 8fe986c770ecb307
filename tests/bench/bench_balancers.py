"""Time of one pick with 10 and with 1,000 instances, for every strategy.

``make bench-balancers`` runs it, best with nothing else on the core. It prints microseconds, best
of several; a pick is meant to stay below 2 us at 10 instances and below 10 us at 1,000.
"""

from __future__ import annotations

import asyncio
import time
import timeit
from functools import partial
from typing import TYPE_CHECKING, Any

from gatewayd import Balancer, Instance, InstanceSpec, Response, Service
from gatewayd.config.schema import ServiceConfig
from gatewayd.testing import make_exchange, make_gateway
from gatewayd.timers import Sweeper
from gatewayd.upstream.head import HeadCache
from gatewayd.upstream.names import Names
from gatewayd.upstream.pool import Pool
from gatewayd_filters.balancer import BalancerConfig, BalancerFilter
from gatewayd_filters.balancers.strategy import prepare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd import Exchange

SIZES = (10, 1_000)
CALLS, ROUNDS = 20_000, 9
SECRET = "of the benchmark only"
STRATEGIES: tuple[str | dict[str, Any], ...] = (
    "round_robin", "weighted", "least_connections", "random", "p2c", "consistent_hash",
    {"name": "consistent_hash", "on": "header:X-User"},
    {"name": "consistent_hash", "on": "cookie:session"},
    {"name": "sticky", "secret": SECRET},
)  # fmt: skip
EXCHANGE = make_exchange(headers={"X-User": "u-1234", "Cookie": "theme=dark; session=0123456789"})


def make_service(size: int) -> Service:
    """Make a service with real pools, of which none has a connection; weights from 1 to 5."""
    config, sweeper, names = ServiceConfig(), Sweeper(), Names()
    heads = HeadCache(config.max_response_headers)
    instances = []
    for n in range(size):
        url = f"http://10.0.{n // 250}.{n % 250}:80"
        pool = Pool("origin", url, config, None, sweeper, names, heads)
        instances.append(Instance("origin", InstanceSpec(url, weight=1 + n % 5), pool))
    service = Service("origin", config)
    service.replace(instances)
    return service


def microseconds(call: Callable[[], object]) -> float:
    """Return the time of a call, the best of several rounds."""
    call()  # what is made once per list is made here
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def exchange_for(balancer: Balancer, service: Service) -> Exchange:
    """Make the exchange of a client that has the cookies which the strategy sets."""
    response = Response(200)
    balancer.answered(service.available[-1], EXCHANGE, response)
    cookie = (response.headers.get("Set-Cookie") or "").partition(";")[0]
    headers = {"X-User": "u-1234", "Cookie": f"theme=dark; session=0123456789; {cookie}"}
    return make_exchange(headers=headers)


def bench_pick(strategy: str | dict[str, Any]) -> str:
    """Return the times of a strategy; of those that learn from attempts, with telling them."""
    gateway = make_gateway(clock=time.monotonic)
    cells = []
    for size in SIZES:
        service = make_service(size)
        balancer = prepare(strategy, gateway, "strategy")()
        exchange = exchange_for(balancer, service)

        def attempt(
            balancer: Balancer = balancer, service: Service = service, exchange: Exchange = exchange
        ) -> None:
            balancer.done(balancer.pick(service.available, exchange), 0.001, None)

        for instance in service.available:  # as after some traffic
            balancer.pick((instance,), exchange)
            balancer.done(instance, 0.001, None)
        if type(balancer).done is Balancer.done:
            pick = microseconds(partial(balancer.pick, service.available, exchange))
            cells.append(f"{pick:8.2f}            ")
        else:
            cells.append(f"{microseconds(attempt):8.2f} with done  ")
    return name_of(strategy).ljust(32) + "".join(cells)


def name_of(strategy: str | dict[str, Any]) -> str:
    """Return a strategy as it stands in the tables."""
    return strategy if isinstance(strategy, str) else f"{strategy['name']} {strategy.get('on', '')}"


def bench_filter(settings: dict[str, Any]) -> float:
    """Return the time of the filter, less that of the coroutine that it calls."""
    service = make_service(10)
    gateway = make_gateway(clock=time.monotonic, services={"origin": service})
    one = BalancerFilter(BalancerConfig.model_validate(settings), gateway)
    exchange = make_exchange(values={"service": service})
    response = Response(200)

    async def forward(_: Exchange) -> Response:
        return response

    def run(call: Awaitable[Response]) -> None:
        try:  # nothing in it waits, so it needs no event loop
            next(call.__await__())
        except StopIteration:
            return

    alone = microseconds(lambda: run(forward(exchange)))
    return microseconds(lambda: run(one(exchange, forward))) - alone


async def main() -> None:
    """Print the tables; pools want a running event loop."""
    print("us per pick, instances".ljust(32) + "".join(f"{size:>8,}            " for size in SIZES))
    for strategy in STRATEGIES:
        print(bench_pick(strategy))
    print("\nus per exchange in the filter, 10 instances")
    for strategy in STRATEGIES:
        print(name_of(strategy).ljust(32) + f"{bench_filter({'strategy': strategy}):8.2f}")


if __name__ == "__main__":
    asyncio.run(main())
