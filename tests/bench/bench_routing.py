"""Time of one route lookup with 10, 1,000 and 10,000 routes, and of one path normalisation.

Run it alone on a core: ``python tests/bench/bench_routing.py``. It prints microseconds, best of
several, and the ratio to ten routes; lookup is meant to stay within 1.3 of that.
"""

from __future__ import annotations

import timeit
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from gatewayd import Response, Route, RouteTable, Service
from gatewayd.config.schema import RouteConfig, RoutingConfig, ServiceConfig
from gatewayd.routing.normalise import PathPolicy
from gatewayd.testing import make_exchange, make_gateway
from gatewayd_filters.route_match import RouteMatch, RouteMatchConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd import Exchange

SIZES = (10, 1_000, 10_000)
CALLS, ROUNDS = 20_000, 15

# A third each: as services behind a gateway look. "{n}" is the number of the route.
RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/api/v1/service{n}", {}),
    ("/api/v1/exact{n}", {"match": "exact", "methods": ["GET"]}),
    ("/api/v1/things{n}/{{id}}", {"methods": ["GET", "PUT"]}),
)
LOOKUPS = {
    "exact": "/api/v1/exact{1}",
    "prefix": "/api/v1/service{0}",
    "below a prefix": "/api/v1/service{0}/orders/17",
    "template": "/api/v1/things{2}/17",
    "miss": "/api/v1/nothing/17",
    "miss at the root": "/nothing",
}
PATHS = ("/api/v1/users/12345", "/files/a%20b/%C3%A9.txt", "/a/./b//c/../%41")


def make_table(size: int) -> RouteTable:
    """Make a table of the rules above, in turn."""
    routes = []
    for n in range(size):
        path, more = RULES[n % 3]
        rule = {"name": f"r{n}", "path": path.format(n=n), "service": "origin", **more}
        routes.append(Route(RouteConfig.model_validate(rule), n))
    return RouteTable(routes)


def microseconds(call: Callable[[], object]) -> float:
    """Return the time of a call, the best of several rounds."""
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def bench_lookup() -> None:
    """Print the table of lookups."""
    tables = {size: make_table(size) for size in SIZES}
    print("us per lookup".ljust(18) + "".join(f"{size:>9,}        " for size in SIZES))
    for label, template in LOOKUPS.items():
        times = []
        for size, table in tables.items():
            middle = size // 2 // 3 * 3
            path = template.format(middle, middle + 1, middle + 2)
            times.append(microseconds(partial(table.find, "GET", path)))
        cells = (f"{time:9.2f} ({time / times[0]:4.2f})" for time in times)
        print(label.ljust(18) + " ".join(cells))


def bench_normalise() -> None:
    """Print the times of normalisation."""
    normalise = PathPolicy(RoutingConfig()).normalise
    for path in PATHS:
        print(f"normalise {path:<26} {microseconds(partial(normalise, path)):6.2f}")


def bench_filter() -> None:
    """Print the time of the route_match filter, less that of the coroutine that it calls."""
    rule = {"name": "r", "path": "/api", "service": "origin", "methods": ["GET"], "timeout": 5}
    service = Service("origin", ServiceConfig.model_validate({}))
    gateway = make_gateway(routes=[rule], services={"origin": service})
    route_match = RouteMatch(RouteMatchConfig(), gateway)
    exchange = make_exchange(target="/api/users/17")
    response = Response(200)

    async def forward(_: Exchange) -> Response:
        return response

    def run(call: Awaitable[Response]) -> None:
        with suppress(StopIteration):  # nothing in it waits, so it needs no event loop
            next(call.__await__())

    alone = microseconds(lambda: run(forward(exchange)))
    whole = microseconds(lambda: run(route_match(exchange, forward)))
    print(f"route_match, below a prefix          {whole - alone:6.2f}")


if __name__ == "__main__":
    bench_lookup()
    bench_normalise()
    bench_filter()
