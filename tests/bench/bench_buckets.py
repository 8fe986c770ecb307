"""CPU time of one check of the token bucket, in memory and in memory that workers share.

``make bench-buckets`` runs it, best with nothing else on the machine. A check is what the filter
does to decide on one exchange: find the caller's buckets, and take from them. It is meant to stay
below 1.5 us in memory and 4 us shared. Below stand the locks that were to choose from, and what the
filter costs as a whole, with the fields that it adds to a response.
"""

from __future__ import annotations

import fcntl
import os
import time
import timeit
from typing import TYPE_CHECKING, Any

from gatewayd import Headers, Principal, Response, SharedTable
from gatewayd.process.shared import make_shared_file
from gatewayd.testing import make_exchange, make_gateway
from gatewayd_filters.concurrency_limit import ConcurrencyLimit, ConcurrencyLimitConfig
from gatewayd_filters.token_bucket import TokenBucket, TokenBucketConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gatewayd import Context, Exchange

CALLS, ROUNDS = 20_000, 9
LIMITS: dict[str, dict[str, Any]] = {
    "one limit": {"rate": "100000000/second"},
    "one limit, key of principal and header": {
        "rate": "100000000/second", "key": ["principal", "header:X-Tenant"]
    },
    "two limits": {"rate": "100000000/second", "limits": ["100000000000/day"]},
}  # fmt: skip
SILENT = {"headers": {"standard": False, "legacy": False}}


def microseconds(call: Callable[[], object]) -> float:
    """Return the CPU time of a call, the best of several rounds."""
    call()  # what is made once per caller is made here
    timer = timeit.Timer(call, timer=time.process_time)
    return min(timer.repeat(number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def exchange() -> Exchange:
    """Make the exchange of a caller who is known."""
    values: dict[Context, object] = {"principal": Principal("alice", "jwt")}
    return make_exchange(headers={"X-Tenant": "acme"}, values=values)


def check(one: TokenBucket) -> float:
    """Return the time of deciding."""
    plans, backend, asking = one._plans, one._backend, exchange()
    plans.find(asking, plans.identity(asking))
    return microseconds(lambda: backend.take(plans.known[plans.identity(asking)].charges))


def run(coroutine: Coroutine[Any, Any, Response]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return


def whole(one: TokenBucket | ConcurrencyLimit) -> float:
    """Return the time of the filter, less that of what it calls."""
    fields = Headers.of_lines([(b"Content-Type", b"application/json"), (b"Server", b"origin")])
    asking = exchange()

    async def forward(_: Exchange) -> Response:
        return Response(200, fields.copy())

    def once() -> None:
        run(one(asking, forward))
        asking.finish()

    def without() -> None:
        run(forward(asking))
        asking.finish()

    return microseconds(once) - microseconds(without)


def main() -> None:
    """Print the tables."""
    with make_shared_file(4) as file:
        table = SharedTable(file.fileno())
        gateways = {
            "memory": make_gateway(clock=time.monotonic),
            "shared": make_gateway(shared=table),
        }
        print("us CPU".ljust(44) + "".join(name.rjust(10) for name in gateways))
        for name, settings in LIMITS.items():
            config = TokenBucketConfig.model_validate(settings)
            times = [check(TokenBucket(config, gateway)) for gateway in gateways.values()]
            print(f"check, {name}".ljust(44) + "".join(f"{time:10.2f}" for time in times))
        for name, extra in (("", {}), (" without fields in responses", SILENT)):
            config = TokenBucketConfig.model_validate(LIMITS["one limit"] | extra)
            times = [whole(TokenBucket(config, gateway)) for gateway in gateways.values()]
            print(f"filter{name}".ljust(44) + "".join(f"{time:10.2f}" for time in times))
        limit = ConcurrencyLimitConfig(limit=100)
        times = [whole(ConcurrencyLimit(limit, gateway)) for gateway in gateways.values()]
        print("concurrency_limit, enter and leave".ljust(44) + "".join(f"{t:10.2f}" for t in times))
        bench_locks(table, file.fileno())


def bench_locks(table: SharedTable, descriptor: int) -> None:
    """Print what it costs to take and give back a lock that nobody else wants."""
    mutex = table.place("key").mutex

    def robust() -> None:
        mutex.acquire()
        mutex.release()

    def lockf() -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, 4000)
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, 4000)

    def flock() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    print(f"\nlocks, on {os.uname().machine}")
    for name, call in (("robust mutex", robust), ("flock()", flock), ("lockf(), a range", lockf)):
        print(name.ljust(54) + f"{microseconds(call):10.2f}")


if __name__ == "__main__":
    main()
