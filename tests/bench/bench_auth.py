"""What authentication costs: processor time of an exchange that is authenticated, and of others.

``make bench-auth`` runs it, best with nothing else on the machine. First the filter alone, from the
request as the server makes it to the field lines as they go upstream; then a whole gateway under
load over real sockets. There one process serves all routes, and they take turns of a second, so
that what else the machine does falls on all of them; differences are taken within a round, and then
their median. The goal is less than 6 us more than the open route for a token that is remembered.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import jwt

from gatewayd import Exchange, Response
from gatewayd.config.schema import RoutingConfig, ServerConfig
from gatewayd.crypto import new_api_key
from gatewayd.server.entry import HTTP_1_1, Entry, make_request
from gatewayd.testing import make_gateway
from gatewayd_filters.auth import Auth, AuthConfig
from tests.bench.cpu import Cores, cpu_seconds
from tests.bench.load import small_requests
from tests.bench.origins import json_origin
from tests.support.authentication import PEPPER, FakeStore, as_store, key_record
from tests.support.process import free_port
from tests.support.servers import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from typing import Any

CALLS, REPEATS = 20_000, 9
ROUNDS, SECONDS = 15, 1.0
SECRET = "of-the-benchmark-only-0123456789abcdef"
CLAIMS = {
    "sub": "user-12345", "name": "Jane Doe", "email": "jane@example.org", "iss": "https://idp.test",
    "roles": ["reader", "writer"], "scope": "orders:read orders:write",
}  # fmt: skip
FIELDS = [
    (b"Host", b"gateway.example"), (b"User-Agent", b"curl/8.9.1"), (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"gzip, br"), (b"Content-Type", b"application/json"),
]  # fmt: skip
JWT = {"algorithms": ["HS256"], "secret": SECRET}
CONFIG = """
[store]
url = "sqlite:///gatewayd.db"
[pipeline]
filters = ["request_id", "route_match", "auth", "balancer", "upstream"]
[filters.auth]
methods = ["jwt", "api_key"]
[filters.auth.jwt]
algorithms = ["HS256"]
secret = "{secret}"
[filters.auth.api_key]
[services.origin]
instances = [{{ url = "http://127.0.0.1:{port}" }}]
[[routes]]
name = "without"
path = "/without"
service = "origin"
filters.auth = false
[[routes]]
name = "open"
path = "/open"
service = "origin"
auth_required = false
[[routes]]
name = "closed"
path = "/closed"
service = "origin"
auth_required = true
"""


def token() -> str:
    """Make a token as an identity provider would."""
    return jwt.encode({**CLAIMS, "exp": int(time.time()) + 86_400}, SECRET, "HS256")


def run(call: Awaitable[Response]) -> None:
    """Run what never waits without an event loop."""
    try:
        next(call.__await__())
    except StopIteration:
        return
    raise RuntimeError("it waits")


async def bench_filter(folder: Path) -> None:
    """Print the times of the filter alone."""
    key_id, secret, key = new_api_key()
    store = FakeStore()
    store.api_keys.put(key_record(key_id, secret))
    gateway = make_gateway(clock=time.monotonic, store=as_store(store))
    keys = {"pepper": PEPPER, "snapshot_file": str(folder / "snapshot")}
    settings = {"methods": ["jwt", "api_key"], "required": False, "jwt": JWT, "api_key": keys}
    auth = Auth(AuthConfig.model_validate(settings), gateway)
    await auth.start()
    entry = Entry(ServerConfig(), RoutingConfig())
    line = entry.request_line(b"GET /orders/17 HTTP/1.1")
    peer = entry.peer("192.0.2.1", 1, "http", None)
    response = Response(200)

    async def forward(exchange: Exchange) -> Response:
        _ = exchange.request.headers.index, exchange.request.headers.encoded  # as upstream does
        return response

    bearer = f"Bearer {token()}".encode()
    anonymous = 0.0
    for name, fields in (
        ("anonymous", []),
        ("token, remembered", [(b"Authorization", bearer)]),
        ("API key", [(b"X-API-Key", key.encode())]),
    ):
        checked = entry.check([*FIELDS, *fields], HTTP_1_1, peer)

        def once(checked: Any = checked) -> None:
            run(auth(Exchange(make_request(line, checked), 1.0, "id"), forward))

        await auth(Exchange(make_request(line, checked), 1.0, "id"), forward)
        once()
        best = min(timeit.repeat(once, number=CALLS, repeat=REPEATS)) / CALLS * 1e6
        anonymous = anonymous or best
        print(f"{name:24}{best:8.2f} us {best - anonymous:+8.2f}")
    for failure in await gateway.close():
        raise failure


def bench_gateway(folder: Path) -> None:
    """Print what an exchange costs a whole gateway."""
    cores = Cores.of_this_machine()
    cores.pin_load()
    origin = free_port()
    config = CONFIG.format(secret=SECRET, port=origin)
    gateway = GatewayProcess(config, folder, cores=cores.proxy)
    (folder / "nginx").mkdir()
    with json_origin(folder / "nginx", [origin]), gateway:
        make_key = ["keys", "create", "--owner", "shop", "--role", "reader", "--role", "writer"]
        made = subprocess.run(
            [sys.executable, "-m", "gatewayd", *make_key, "-c", str(gateway.config_file), "--json"],
            cwd=folder, stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
        bearer = f"Authorization: Bearer {token()}"
        shown = f"X-API-Key: {json.loads(made.stdout)['key']}"
        time.sleep(7)  # until the gateway knows the key
        cases: dict[str, tuple[str, Sequence[str]]] = {
            "without the filter": ("/without", ()),
            "open, anonymous": ("/open", ()),
            "closed, token": ("/closed", (bearer,)),
            "closed, API key": ("/closed", (shown,)),
            "without, same token": ("/without", (bearer,)),
        }
        costs: dict[str, list[float]] = {name: [] for name in cases}
        for number in range(-1, ROUNDS):
            for name, (path, headers) in cases.items():
                before = cpu_seconds(gateway.pid)
                load = small_requests(gateway.port, SECONDS, path=path, headers=headers)
                if number >= 0:  # the first round warms up
                    costs[name].append((cpu_seconds(gateway.pid) - before) / load.amount * 1e6)
    report(costs)


def report(costs: dict[str, list[float]]) -> None:
    """Print costs, and what they are more than that of the open route."""
    baseline = costs["open, anonymous"]
    for name, each in costs.items():
        more = median(mine - theirs for mine, theirs in zip(each, baseline, strict=True))
        ratio = median(mine / theirs for mine, theirs in zip(each, baseline, strict=True))
        print(f"{name:24}{median(each):8.2f} us {more:+8.2f} {ratio:8.3f}")


def main() -> None:
    """Run both."""
    with tempfile.TemporaryDirectory() as folder:
        print("the filter alone, and more than anonymous")
        asyncio.run(bench_filter(Path(folder)))
        print("\na gateway: processor time for each exchange, more than open, ratio to it")
        bench_gateway(Path(folder))


if __name__ == "__main__":
    main()
