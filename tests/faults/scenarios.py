"""The faults, and what four instances of which some have them make a client see."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.client import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.origin import Fault, FaultyOrigin

INSTANCES = 4
REQUESTS = 8
"""Of each method: round robin brings every instance two of them."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Some instances fail in one way.

    Attributes:
        name: As in the table.
        fault: How they fail.
        faulty: How many.
        get, post: What GETs and POSTs may end with.

    """

    name: str
    fault: Fault
    faulty: int
    get: frozenset[str]
    post: frozenset[str]


def _scenario(name: str, fault: Fault, faulty: int, get: str, post: str) -> Scenario:
    return Scenario(name, fault, faulty, frozenset(get.split()), frozenset(post.split()))


# A response that has begun cannot be taken back: it breaks off, for every method. What an instance
# may have read is not sent again if it is a POST.
SCENARIOS = [
    _scenario("all well", "none", 0, "200", "200"),
    _scenario("connection refused", "refused", 1, "200", "200"),
    _scenario("reset mid-head", "reset mid-head", 1, "200", "200 502"),
    _scenario("reset mid-body", "reset mid-body", 1, "200 broken", "200 broken"),
    _scenario("hang before head", "hang before head", 1, "200", "200 504"),
    _scenario("hang mid-body", "hang mid-body", 1, "200 broken", "200 broken"),
    _scenario("500s", "500", 1, "200", "200 500"),
    _scenario("slow drip", "slow drip", 1, "200", "200"),
    _scenario("garbage", "garbage", 1, "200", "200 502"),
    _scenario("half gone", "refused", 2, "200", "200"),
    _scenario("all gone", "refused", 4, "502", "502"),
    _scenario("two back", "refused", 2, "200", "200"),  # one is tried within three attempts
    _scenario("all back", "none", 0, "200", "200"),
]


@dataclass(frozen=True, slots=True)
class Result:
    """What one scenario came to.

    Attributes:
        get, post: How many requests ended in which way.
        slowest: Seconds that the slowest one took.
        calls: Requests that arrived at instances.
        repeated: POSTs that arrived more than once.

    """

    get: Counter[str]
    post: Counter[str]
    slowest: float
    calls: int
    repeated: int

    def __str__(self) -> str:
        def told(counts: Counter[str]) -> str:
            return " ".join(f"{number}x{outcome}" for outcome, number in sorted(counts.items()))

        again = f", {self.repeated} POSTs TWICE" if self.repeated else ""
        return (
            f"GET {told(self.get)}, POST {told(self.post)}; "
            f"{self.slowest:.2f} s, {self.calls} calls{again}"
        )


async def play(scenario: Scenario, origins: Sequence[FaultyOrigin], port: int) -> Result:
    """Make instances fail, send requests one after the other, and look at both ends."""
    for number, origin in enumerate(origins):
        await origin.become(scenario.fault if number < scenario.faulty else "none")
        origin.calls = 0
        origin.posts.clear()
    client = Client(port)
    gets = [await client.send("GET") for _ in range(REQUESTS)]
    posts = [await client.send("POST") for _ in range(REQUESTS)]
    client.close()
    return Result(
        Counter(one.outcome for one in gets),
        Counter(one.outcome for one in posts),
        max(one.seconds for one in [*gets, *posts]),
        sum(origin.calls for origin in origins),
        sum(count > 1 for count in sum((one.posts for one in origins), Counter[bytes]()).values()),
    )
