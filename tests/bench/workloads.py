"""What is compared: each workload starts its origins and yields the contests in front of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import filters as with_filters
from tests.bench.contest import Contender, Contest, Goal, Plan
from tests.bench.echoes import SOCKETS, check_echoes, echo_origin, echoes
from tests.bench.load import (
    CONNECTIONS,
    Load,
    check_refused,
    check_small_requests,
    check_told,
    small_requests,
)
from tests.bench.origins import body_origin, json_origin, write_body
from tests.bench.peers import PEERS, gatewayd_config, observed, relay
from tests.bench.transfer import check_bodies, download, upload
from tests.support.process import free_port
from tests.support.redis_server import RedisServer
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from tests.bench.peers import Place
    from tests.support.process import Process

BARE_CONFIG = Path(__file__).parent / "conf" / "bare.toml"
"""The smallest gateway, with fixed ports: itself on 8121, its origins on 9101 to 9103."""

BARE_PORT = 8121

JSON_ORIGINS = (9101, 9102, 9103)

ROUTE_COUNTS = (200, 10_000)


Workload = Callable[[Plan], AbstractContextManager[list[Contest]]]


@contextmanager
def bare(plan: Plan) -> Iterator[list[Contest]]:
    """Compare all peers with no feature but proxying, and with passing bytes on unread."""
    makers = PEERS | {"gatewayd": _bare_gatewayd, "relay": relay}
    check = partial(check_small_requests, origins=JSON_ORIGINS, path="/")
    with json_origin(plan.folder, JSON_ORIGINS):
        yield [
            Contest(
                name="bare",
                title=f"Bare proxy, {CONNECTIONS} connections, 250 bytes of JSON, three origins",
                unit="request",
                baseline="envoy",
                goals=[Goal("gatewayd", 0.5)],
                origins=JSON_ORIGINS,
                contenders=[
                    Contender(name, makers[name], check, small_requests)
                    for name in (*plan.peers, "relay")
                ],
            )
        ]


@contextmanager
def filters(plan: Plan) -> Iterator[list[Contest]]:
    """Compare gatewayd and Envoy on authenticated requests, for all 200 routes in turn."""
    makers = {"gatewayd": with_filters.gatewayd, "envoy": with_filters.envoy}
    caller = with_filters.authorization()
    paths_file = plan.folder / "paths"
    paths_file.write_text("".join(f"{path}\n" for path in with_filters.PATHS))

    def check(port: int) -> None:
        path = with_filters.PATHS[-1]
        check_refused(port, path)
        check_told(port, path, caller)
        check_small_requests(port, JSON_ORIGINS, path, caller)

    load = partial(small_requests, paths_file=paths_file, authorization=caller)
    with json_origin(plan.folder, JSON_ORIGINS):
        yield [
            Contest(
                name="filters",
                title="JWT, role, bucket, 200 routes, retry, breaker, metrics, JSON access log",
                unit="request",
                baseline="envoy",
                goals=[Goal("gatewayd", 0.5)],
                origins=JSON_ORIGINS,
                contenders=[
                    Contender(name, make, check, load)
                    for name, make in makers.items()
                    if name in plan.peers
                ],
            )
        ]


def _bare_gatewayd(place: Place) -> Process:
    return GatewayProcess(BARE_CONFIG, place.folder, port=BARE_PORT, cores=place.cores)


@contextmanager
def routes(plan: Plan) -> Iterator[list[Contest]]:
    """Compare gatewayd with few routes to gatewayd with many, all filters on."""
    contenders = [_full(f"{count} routes", plan.folder, routes=count) for count in ROUTE_COUNTS]
    with json_origin(plan.folder, JSON_ORIGINS):
        yield [
            Contest(
                name="routes",
                title="All filters, all routes in turn",
                unit="request",
                baseline=contenders[0].name,
                goals=[Goal(contenders[1].name, 1.05)],
                origins=JSON_ORIGINS,
                contenders=contenders,
            )
        ]


@contextmanager
def redis(plan: Plan) -> Iterator[list[Contest]]:
    """Compare token buckets in memory to those in a Redis on this machine, all filters on."""
    with json_origin(plan.folder, JSON_ORIGINS), RedisServer(plan.folder) as server:
        yield [
            Contest(
                name="redis",
                title="All filters, token bucket in memory and in Redis",
                unit="request",
                baseline="memory",
                goals=[Goal("redis", 1.4)],
                origins=JSON_ORIGINS,
                contenders=[
                    _full("memory", plan.folder),
                    _full("redis", plan.folder, redis_url=server.url),
                ],
            )
        ]


def _full(name: str, folder: Path, *, routes: int = 200, redis_url: str | None = None) -> Contender:
    """Return gatewayd with all filters, asked for all its routes in turn."""
    paths = with_filters.paths(routes)
    paths_file = folder / f"paths-{name.replace(' ', '-')}"
    paths_file.write_text("".join(f"{path}\n" for path in paths))
    caller = with_filters.authorization()
    return Contender(
        name,
        partial(with_filters.gatewayd_on_own_port, routes=routes, redis_url=redis_url),
        partial(check_small_requests, origins=JSON_ORIGINS, path=paths[-1], authorization=caller),
        partial(small_requests, paths_file=paths_file, authorization=caller),
    )


@contextmanager
def telemetry(plan: Plan) -> Iterator[list[Contest]]:
    """Compare gatewayd without and with metrics, access log and unsampled traces, and scraped."""
    check = partial(check_small_requests, origins=JSON_ORIGINS, path="/")
    scraped = Scraped()
    with json_origin(plan.folder, JSON_ORIGINS):
        yield [
            Contest(
                name="telemetry",
                title="Metrics, access log in JSON and unsampled tracing; a scrape every second",
                unit="request",
                baseline="observed",
                goals=[
                    Goal("observed", 5, "added us", baseline="without"),
                    Goal("scraped", 1.1, "p99"),
                ],
                origins=JSON_ORIGINS,
                contenders=[
                    Contender("without", partial(_observed, on=False), check, small_requests),
                    Contender("observed", partial(_observed, on=True), check, small_requests),
                    Contender("scraped", scraped.make, check, scraped.load),
                ],
            )
        ]


def _observed(place: Place, *, on: bool, admin: int | None = None) -> Process:
    config = gatewayd_config(place.origins, {"everything": "/"})
    if on:
        config = observed(config, place.folder)
    if admin is not None:
        config += f'[admin]\nlisten = "127.0.0.1:{admin}"\n'
    return GatewayProcess(config, place.folder, port=place.port, cores=place.cores)


class Scraped:
    """A gateway that is scraped every second while it is loaded."""

    def __init__(self) -> None:
        self._admin = free_port()

    def make(self, place: Place) -> Process:
        """Make its process."""
        return _observed(place, on=True, admin=self._admin)

    def load(self, port: int, seconds: float) -> Load:
        """Load it, and scrape meanwhile."""
        done = threading.Event()
        scraping = threading.Thread(target=self._scrape, args=(done,))
        scraping.start()
        try:
            return small_requests(port, seconds)
        finally:
            done.set()
            scraping.join()

    def _scrape(self, done: threading.Event) -> None:
        while not done.wait(1.0):
            with closing(HTTPConnection("127.0.0.1", self._admin, timeout=10)) as connection:
                connection.request("GET", "/metrics")
                connection.getresponse().read()


@contextmanager
def latency(plan: Plan) -> Iterator[list[Contest]]:
    """Compare gatewayd and Envoy, all filters on, at half the rate that gatewayd can take."""
    makers = {"gatewayd": with_filters.gatewayd, "envoy": with_filters.envoy}
    caller = with_filters.authorization()
    paths_file = plan.folder / "paths"
    paths_file.write_text("".join(f"{path}\n" for path in with_filters.PATHS))
    pause = 0

    def load(port: int, seconds: float) -> Load:
        nonlocal pause
        if not pause:  # the first one, gatewayd, to warm up: as fast as it can
            fastest = small_requests(port, seconds, paths_file, caller)
            pause = max(1, round(1000 * CONNECTIONS / (fastest.amount / fastest.seconds / 2)))
            return fastest
        return small_requests(port, seconds, paths_file, caller, pause_ms=pause)

    check = partial(
        check_small_requests,
        origins=JSON_ORIGINS,
        path=with_filters.PATHS[-1],
        authorization=caller,
    )
    with json_origin(plan.folder, JSON_ORIGINS):
        yield [
            Contest(
                name="latency",
                title="All filters, at half the rate at which gatewayd is saturated",
                unit="request",
                baseline="envoy",
                goals=[Goal("gatewayd", 1.0, "p99")],
                origins=JSON_ORIGINS,
                contenders=[
                    Contender(name, make, check, load)
                    for name, make in makers.items()
                    if name in plan.peers
                ],
            )
        ]


@contextmanager
def websocket(plan: Plan) -> Iterator[list[Contest]]:
    """Compare all peers that tunnel, with messages of 1 KB that come back."""
    port = free_port()
    with echo_origin(plan.folder, port):
        yield [
            Contest(
                name="websocket",
                title=f"WebSocket, {SOCKETS} connections, echoes of 1 KB",
                unit="request",
                baseline="nginx",
                goals=[Goal("gatewayd", 2.0)],
                origins=[port],
                contenders=[
                    Contender(name, PEERS[name], check_echoes, echoes)
                    for name in plan.peers
                    if name in ("gatewayd", "nginx")
                ],
            )
        ]


@contextmanager
def bodies(plan: Plan) -> Iterator[list[Contest]]:
    """Compare all peers moving big bodies down and up."""
    body = plan.folder / "body"
    sha256 = write_body(body, plan.body_megabytes)
    origin_port = free_port()
    check = partial(check_bodies, body=body, sha256=sha256)
    with body_origin(plan.folder, origin_port, body):
        yield [
            Contest(
                name=name,
                title=f"{name.capitalize()} of {plan.body_megabytes} MB, one at a time",
                unit="MB",
                baseline="nginx",
                goals=[Goal("gatewayd", 2.0)],
                origins=[origin_port],
                contenders=[
                    Contender(peer, PEERS[peer], check, partial(move, body=body))
                    for peer in plan.peers
                ],
            )
            for name, move in [("download", download), ("upload", upload)]
        ]


WORKLOADS: dict[str, Workload] = {
    "bare": bare,
    "filters": filters,
    "routes": routes,
    "redis": redis,
    "telemetry": telemetry,
    "latency": latency,
    "bodies": bodies,
    "websocket": websocket,
}
"""In the order in which they run, by the name that ``--workloads`` takes."""
