"""What is compared: each workload starts its origins and yields the contests in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import filters as with_filters
from tests.bench.contest import Contender, Contest, Goal, Plan
from tests.bench.load import CONNECTIONS, check_refused, check_small_requests, small_requests
from tests.bench.origins import body_origin, json_origin, write_body
from tests.bench.peers import PEERS, gatewayd_config
from tests.bench.transfer import check_bodies, download, upload
from tests.support.process import free_port
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from tests.bench.peers import Place
    from tests.support.process import Process

BARE_CONFIG = Path(__file__).parent / "conf" / "bare.toml"
"""The smallest gateway, with fixed ports: itself on 8121, its origins on 9101 to 9103."""

BARE_PORT = 8121

JSON_ORIGINS = (9101, 9102, 9103)

ROUTE_COUNTS = (10, 10_000)


Workload = Callable[[Plan], AbstractContextManager[list[Contest]]]


@contextmanager
def bare(plan: Plan) -> Iterator[list[Contest]]:
    """Compare all peers with no feature but proxying."""
    makers = PEERS | {"gatewayd": _bare_gatewayd}
    check = partial(check_small_requests, origins=JSON_ORIGINS, path="/")
    with json_origin(plan.folder, JSON_ORIGINS):
        yield [
            Contest(
                name="bare",
                title=f"Bare proxy, {CONNECTIONS} connections, 250 bytes of JSON, three origins",
                unit="request",
                baseline="envoy",
                goal=Goal("gatewayd", 0.7),
                origins=JSON_ORIGINS,
                contenders=[
                    Contender(name, makers[name], check, small_requests) for name in plan.peers
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
        check_small_requests(port, JSON_ORIGINS, path, caller)

    load = partial(small_requests, paths_file=paths_file, authorization=caller)
    with json_origin(plan.folder, JSON_ORIGINS):
        yield [
            Contest(
                name="filters",
                title="JWT, role, bucket, 200 routes, retry, breaker, metrics, JSON access log",
                unit="request",
                baseline="envoy",
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
    """Compare gatewayd with few routes to gatewayd with many, asked for all of them in turn."""
    contenders = [_gatewayd_with(count, plan.folder) for count in ROUTE_COUNTS]
    with json_origin(plan.folder, JSON_ORIGINS):
        yield [
            Contest(
                name="routes",
                title="Route lookup in gatewayd, all routes in turn, half with a path parameter",
                unit="request",
                baseline=contenders[0].name,
                origins=JSON_ORIGINS,
                contenders=contenders,
            )
        ]


def _gatewayd_with(count: int, folder: Path) -> Contender:
    resources = [f"/api/v1/resource{number}" for number in range(count)]
    rules = {
        f"route{number}": f"{path}/{{item}}" if number % 2 else path
        for number, path in enumerate(resources)
    }
    paths_file = folder / f"paths-{count}"
    paths_file.write_text("".join(f"{path}/7\n" for path in resources))
    return Contender(
        f"{count} routes",
        lambda place: GatewayProcess(
            gatewayd_config(place.origins, rules), place.folder, port=place.port, cores=place.cores
        ),
        partial(check_small_requests, origins=JSON_ORIGINS, path=f"{resources[-1]}/7"),
        partial(small_requests, paths_file=paths_file),
    )


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
    "bodies": bodies,
}
"""In the order in which they run, by the name that ``--workloads`` takes."""
