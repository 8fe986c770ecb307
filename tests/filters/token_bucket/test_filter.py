"""The filter: what it answers, whom it limits, and what becomes of requests in an outage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from gatewayd import ConfigError, Principal, Reject, Response, Store
from gatewayd.store.settings import StoreConfig
from gatewayd.testing import (
    FakeClock,
    Recorder,
    contract,
    in_memory,
    make_exchange,
    make_gateway,
    running,
)
from gatewayd_filters.token_bucket import TokenBucket, TokenBucketConfig
from gatewayd_filters.token_bucket.backend import BackendUnavailable
from gatewayd_filters.token_bucket.memory import MemoryBackend
from gatewayd_filters.token_bucket.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd import Gateway
    from gatewayd_filters.token_bucket.backend import Charge, Verdict

ONCE = {"rate": "60/minute burst 1"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def gateway(clock: FakeClock) -> Gateway:
    return make_gateway(clock=clock)


async def ask(one: TokenBucket, answer: Any = None, **given: Any) -> Response | Reject:
    """Send one request through the filter."""
    principal = given.pop("principal", None)
    values = {"principal": principal} if principal else {}
    try:
        forward = Recorder(answer or Response(200))
        return await one(make_exchange(values=values, **given), forward)
    except Reject as reject:
        return reject


async def statuses(one: TokenBucket, number: int, **given: Any) -> list[int]:
    return [(await ask(one, **given)).status for _ in range(number)]


def value_of(gateway: Gateway, name: str, *labels: str) -> float:
    (family,) = [one for one in gateway.metrics.read() if one.name == name]
    return family.labels(*labels).value


@pytest.mark.parametrize("settings", [{}, {"rate": 5}, {"rate": 5, "key": ["ip", "header:X-A"]}])
async def test_contract(settings: dict[str, Any]) -> None:
    await contract(TokenBucket, settings)


async def test_without_a_limit_everybody_passes(gateway: Gateway) -> None:
    async with running(TokenBucket, gateway=gateway) as one:
        assert await statuses(one, 1000) == [200] * 1000


async def test_a_refusal_says_when_to_come_back(gateway: Gateway, clock: FakeClock) -> None:
    async with running(TokenBucket, {"rate": "6/minute burst 2"}, gateway=gateway) as one:
        assert await statuses(one, 2) == [200, 200]
        clock.advance(0.5)
        refusal = await ask(one)
        assert isinstance(refusal, Reject)
        assert (refusal.status, refusal.code) == (429, "rate_limited")
        assert dict(refusal.headers) == {
            "RateLimit-Policy": '"default";q=2;w=20',
            "RateLimit": '"default";r=0;t=20',
            "X-RateLimit-Limit": "2",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "20",
            "Retry-After": "10",
        }
        clock.advance(9.5)
        assert await statuses(one, 2) == [200, 429]


async def test_allowed_responses_tell_what_is_left(gateway: Gateway) -> None:
    async with running(TokenBucket, {"rate": "100/minute"}, gateway=gateway) as one:
        response = await ask(one)
    assert list(response.headers) == [
        ("RateLimit-Policy", '"default";q=100;w=60'),
        ("RateLimit", '"default";r=99;t=1'),
        ("X-RateLimit-Limit", "100"),
        ("X-RateLimit-Remaining", "99"),
        ("X-RateLimit-Reset", "1"),
    ]


async def test_fields_of_several_limits(gateway: Gateway) -> None:
    limits = ["10/second", "100/day", "50/day"]
    async with running(TokenBucket, {"limits": limits}, gateway=gateway) as one:
        response = await ask(one)
    assert dict(response.headers) == {
        "RateLimit-Policy": '"second";q=10;w=1, "day";q=100;w=86400, "day-2";q=50;w=86400',
        "RateLimit": '"second";r=9;t=1, "day";r=99;t=864, "day-2";r=49;t=1728',
        "X-RateLimit-Limit": "10",
        "X-RateLimit-Remaining": "9",
        "X-RateLimit-Reset": "1",
    }


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ({"standard": False}, ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]),
        ({"legacy": False}, ["RateLimit-Policy", "RateLimit"]),
        ({"standard": False, "legacy": False}, []),
    ],
)
async def test_fields_can_be_switched_off(
    gateway: Gateway, headers: dict[str, bool], names: list[str]
) -> None:
    async with running(TokenBucket, ONCE | {"headers": headers}, gateway=gateway) as one:
        allowed, refused = await ask(one), await ask(one)
    assert [name for name, _ in allowed.headers] == names
    assert [name for name, _ in refused.headers] == [*names, "Retry-After"]


async def test_fields_of_the_upstream_give_way(gateway: Gateway) -> None:
    answer = Response(200)
    for name in ("ratelimit", "X-RateLimit-Limit", "X-Other"):
        answer.headers.add(name, "of the upstream")
    async with running(TokenBucket, {"rate": 100}, gateway=gateway) as one:
        response = await ask(one, answer)
    assert response.headers.get("RateLimit") == '"default";r=99;t=1'
    assert response.headers.get("X-RateLimit-Limit") == "100"
    assert response.headers.get("X-Other") == "of the upstream"


async def test_all_limits_hold_and_a_refusal_takes_from_none(
    gateway: Gateway, clock: FakeClock
) -> None:
    async with running(TokenBucket, {"rate": 2, "limits": ["3/day"]}, gateway=gateway) as one:
        assert await statuses(one, 4) == [200, 200, 429, 429]
        clock.advance(1)
        assert await statuses(one, 2) == [200, 429]
        refusal = await ask(one)
    assert dict(refusal.headers)["Retry-After"] == str(86400 // 3 - 1)


async def test_callers_have_buckets_of_their_own(gateway: Gateway) -> None:
    alice, bob = Principal("alice", "jwt"), Principal("bob", "jwt")
    async with running(TokenBucket, ONCE, gateway=gateway) as one:
        assert await statuses(one, 2, principal=alice) == [200, 429]
        assert await statuses(one, 2, principal=bob) == [200, 429]
        assert await statuses(one, 2, principal=Principal("alice", "jwt")) == [429, 429]
        assert await statuses(one, 2, peer="192.0.2.1") == [200, 429]
        assert await statuses(one, 2, peer="2001:db8::1") == [200, 429]
        assert await statuses(one, 2, peer="2001:db8::2:0:0:2") == [429, 429]
        assert await statuses(one, 1, peer="2001:db8:0:1::1") == [200]


ROLES = {"rate": "1/day", "roles": {"staff": "2/day", "admin": ["4/second", "3/day"]}}


@pytest.mark.parametrize(
    ("roles", "passing"), [((), 1), (("other",), 1), (("staff",), 2), (("admin", "staff"), 3)]
)
async def test_a_role_has_its_limit_and_several_the_highest(
    gateway: Gateway, roles: Sequence[str], passing: int
) -> None:
    caller = Principal("alice", "jwt", roles=frozenset(roles))
    async with running(TokenBucket, ROLES, gateway=gateway) as one:
        expected = [200] * passing + [429]
        assert await statuses(one, passing + 1, principal=caller) == expected


async def test_an_api_key_has_its_own_limit_whatever_callers_are_told_apart_by(
    gateway: Gateway,
) -> None:
    key = Principal("alice", "api_key", key_id="k", rate_limit="2/day", roles=frozenset({"staff"}))
    async with running(TokenBucket, ROLES | {"key": "ip"}, gateway=gateway) as one:
        assert await statuses(one, 1, principal=key, peer="192.0.2.1") == [200]
        assert await statuses(one, 2, principal=key, peer="192.0.2.2") == [200, 429]


async def test_a_limit_of_a_key_that_cannot_be_read_is_counted_and_passed_over(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(TokenBucket, ONCE, gateway=gateway) as one:
        for _ in range(3):
            key = Principal("alice", "api_key", key_id="k", rate_limit="lots")
            status = (await ask(one, principal=key)).status
    assert status == 429
    assert value_of(gateway, "gatewayd_rate_limit_invalid_own_limits") == 1
    assert len(caplog.records) == 1


async def test_a_request_takes_its_cost(gateway: Gateway) -> None:
    async with running(TokenBucket, {"rate": "10/day", "cost": 4}, gateway=gateway) as one:
        assert await statuses(one, 3) == [200, 200, 429]


async def test_a_cost_that_the_response_tells_is_taken_afterwards(gateway: Gateway) -> None:
    answer = Response(200)
    answer.headers.add("X-Cost", "4")
    settings = {"rate": "10/day", "cost_header": "X-Cost"}
    async with running(TokenBucket, settings, gateway=gateway) as one:
        first = await ask(one, answer)
        assert "X-Cost" not in first.headers
        assert dict((await ask(one)).headers)["X-RateLimit-Remaining"] == "5"


async def test_what_the_bucket_does_not_hold_is_owed_up_to_a_burst(
    gateway: Gateway, clock: FakeClock
) -> None:
    answer = Response(200)
    answer.headers.add("X-Cost", "1000")
    settings = {"rate": "1/second burst 10", "cost_header": "X-Cost"}
    async with running(TokenBucket, settings, gateway=gateway) as one:
        assert (await ask(one, answer)).status == 200
        clock.advance(0.5)
        assert await statuses(one, 2) == [429, 429]
        clock.advance(9.6)
        assert await statuses(one, 2) == [200, 429]
        clock.advance(1)
        assert await statuses(one, 2) == [200, 429]


class Later(MemoryBackend):
    """Answers in a later turn of the event loop, as a backend behind a network does."""

    async def take(self, charges: Sequence[Charge]) -> Verdict:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().take(charges)


async def test_a_debt_is_paid_once_by_requests_that_come_together(
    clock: FakeClock, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Later(clock, 1000, Meter(gateway.metrics))
    monkeypatch.setattr("gatewayd_filters.token_bucket.make_backend", lambda *_: later)
    answer = Response(200)
    answer.headers.add("X-Cost", "9")
    settings = {"rate": "1/second burst 10", "cost_header": "X-Cost"}
    async with running(TokenBucket, settings, gateway=gateway) as one:
        assert await statuses(one, 3) == [200, 200, 200]
        assert (await ask(one, answer)).status == 200  # 6 are left, and 8 owed
        together = await asyncio.gather(*(ask(one) for _ in range(3)))
        assert [each.status for each in together] == [429, 429, 429]
        clock.advance(4)
        together = await asyncio.gather(*(ask(one) for _ in range(3)))
        assert sorted(each.status for each in together) == [200, 200, 429]
        clock.advance(1)
        assert await statuses(one, 2) == [200, 429]


async def test_nothing_is_owed_when_an_operator_has_filled_the_bucket(gateway: Gateway) -> None:
    answer = Response(200)
    answer.headers.add("X-Cost", "1000")
    settings = {"rate": "10/day", "cost_header": "X-Cost"}
    async with running(TokenBucket, settings, gateway=gateway) as one:
        assert (await ask(one, answer)).status == 200
        assert (await ask(one)).status == 429
        await gateway.admin.run("buckets.reset", {"prefix": "", "limit": 10})
        assert dict((await ask(one)).headers)["X-RateLimit-Remaining"] == "9"


async def test_a_debt_stays_with_the_caller_who_shows_another_credential(
    gateway: Gateway,
) -> None:
    answer = Response(200)
    answer.headers.add("X-Cost", "9")
    settings = {"rate": "10/day", "cost": 2, "cost_header": "X-Cost"}
    async with running(TokenBucket, settings, gateway=gateway) as one:
        for _ in range(2):
            await ask(one, answer, principal=Principal("alice", "jwt"))
        assert await statuses(one, 1, principal=Principal("alice", "jwt")) == [429]
        assert await statuses(one, 1, principal=Principal("bob", "jwt")) == [200]


@pytest.mark.parametrize("cost", ["much", "nan", "-3", "inf", ""])
async def test_a_cost_that_is_no_number_is_counted(gateway: Gateway, cost: str) -> None:
    answer = Response(200)
    answer.headers.add("X-Cost", cost)
    settings = {"rate": "10/day", "cost_header": "X-Cost"}
    async with running(TokenBucket, settings, gateway=gateway) as one:
        await ask(one, answer)
        assert dict((await ask(one)).headers)["X-RateLimit-Remaining"] == "8"
    assert value_of(gateway, "gatewayd_rate_limit_invalid_costs") == 1


async def test_shadow_mode_counts_and_lets_pass(gateway: Gateway) -> None:
    async with running(TokenBucket, ONCE | {"shadow": True}, gateway=gateway) as one:
        assert await statuses(one, 3) == [200] * 3
    assert value_of(gateway, "gatewayd_rate_limit_refused", "gateway", "shadow") == 2
    assert value_of(gateway, "gatewayd_rate_limit_granted_tokens", "gateway") == 1


async def test_a_refused_request_goes_no_further(gateway: Gateway) -> None:
    forward = Recorder()
    async with running(TokenBucket, ONCE, gateway=gateway) as one:
        await one(make_exchange(), forward)
        with pytest.raises(Reject):
            await one(make_exchange(), forward)
    assert len(forward.exchanges) == 1


async def test_an_exchange_that_fails_gets_nothing_back(gateway: Gateway) -> None:
    async with running(TokenBucket, ONCE, gateway=gateway) as one:
        assert (await ask(one, Reject(502, "upstream_reset"))).status == 502
        assert await statuses(one, 1) == [429]


class Away:
    """A backend that cannot be reached; at once, or after a while."""

    def take(self, charges: Sequence[Charge]) -> Verdict:
        raise BackendUnavailable("away")


class AwayLater(Away):
    async def take(self, charges: Sequence[Charge]) -> Verdict:  # type: ignore[override]
        raise BackendUnavailable("away")


@pytest.mark.parametrize("away", [Away, AwayLater])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"on_outage": "closed"}, [503] * 6),
        ({"on_outage": "open"}, [200] * 6),
        ({"on_outage": "local"}, [200] * 4 + [429] * 2),
        ({"on_outage": "closed", "shadow": True}, [200] * 6),
    ],
    ids=["closed", "open", "local", "shadow"],
)
async def test_outage(
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    away: type[Away],
    settings: dict[str, Any],
    expected: list[int],
) -> None:
    async with running(TokenBucket, {"rate": "4/day"} | settings, gateway=gateway) as one:
        monkeypatch.setattr(one, "_backend", away())
        assert await statuses(one, 6) == expected
    assert value_of(gateway, "gatewayd_rate_limit_outages", settings["on_outage"]) == 6


async def test_a_closed_outage_is_no_refusal_of_the_caller(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(TokenBucket, ONCE, gateway=gateway) as one:
        monkeypatch.setattr(one, "_backend", Away())
        answer = await ask(one)
    assert isinstance(answer, Reject)
    assert (answer.code, answer.headers) == ("rate_limit_unavailable", [("Retry-After", "1")])


class Recording(Store):
    """A store that keeps the rows of refused requests."""

    def __init__(self) -> None:
        super().__init__(StoreConfig())
        self.rows: list[Any] = []
        self.opened = False
        self.rate_limit_records = self

    async def start(self) -> None:
        self.opened = True

    async def add(self, rows: Sequence[Any]) -> None:
        assert self.opened
        self.rows += rows


@pytest.mark.parametrize(
    ("settings", "recorded"),
    [({}, [("", "ip=192.0.2.1", 2)]), ({"records": False}, []), ({"shadow": True}, [])],
)
async def test_refusals_are_written_to_the_store(
    settings: dict[str, Any], recorded: list[Any]
) -> None:
    store = Recording()
    async with running(TokenBucket, ONCE | settings, gateway=make_gateway(store=store)) as one:
        await statuses(one, 3)
        assert store.rows == []
    assert [row[1:] for row in store.rows] == recorded


async def test_two_filters_share_buckets_and_a_reload_keeps_them(gateway: Gateway) -> None:
    async with running(TokenBucket, ONCE, gateway=gateway) as one:
        twin = TokenBucket(TokenBucketConfig.model_validate(ONCE), gateway)
        assert await statuses(one, 1) == [200]
        assert await statuses(twin, 1) == [429]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate": "100/minte"}, 'such as "100/minute"'),
        ({"limits": ["5/second", "x"]}, 'such as "100/minute"'),
        ({"rate": True}, 'such as "100/minute"'),
        ({"rate": 1, "burst": 0}, "greater than 0"),
        ({"burst": 5}, "burst is of no use without rate"),
        ({"rate": 5, "cost": 6}, "none would ever pass"),
        ({"rate": 50, "cost": 6, "roles": {"a": "5/day"}}, "none would ever pass"),
        ({"rate": 5, "roles": {"a": []}}, "has no limit"),
        ({"rate": 5, "key": "cookie:x"}, "should match pattern"),
        ({"rate": 5, "key": []}, "at least 1"),
        ({"rate": 5, "on_outage": "stale"}, "'closed', 'open' or 'local'"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TokenBucketConfig.model_validate(settings)


def test_redis_needs_its_section(gateway: Gateway) -> None:
    with pytest.raises(ConfigError, match=r"needs the section \[redis\]"):
        TokenBucket(TokenBucketConfig.model_validate({"backend": "redis"}), gateway)


PIPELINE = """
[pipeline]
filters = ["route_match", "token_bucket", "retry", "balancer", "upstream"]
[services.api]
instances = [{ url = "http://10.0.0.1" }]
[services.other]
instances = [{ url = "http://10.0.0.1" }]
filters.token_bucket = { rate = "3/day" }
[filters.token_bucket]
rate = "2/day"
burst = 2
records = false
[[routes]]
name = "a"
path = "/a"
service = "api"
[[routes]]
name = "b"
path = "/b"
service = "api"
[[routes]]
name = "own"
path = "/own"
service = "api"
rate_limit = "1/day"
[[routes]]
name = "same"
path = "/same"
service = "api"
rate_limit = "1/day"
[[routes]]
name = "several"
path = "/several"
service = "api"
rate_limit = ["5/second", "4/day"]
[[routes]]
name = "table"
path = "/table"
service = "api"
rate_limit = { rate = "5/day", cost = 2 }
[[routes]]
name = "service-1"
path = "/service-1"
service = "other"
[[routes]]
name = "service-2"
path = "/service-2"
service = "other"
[[routes]]
name = "named-1"
path = "/named-1"
service = "api"
rate_limit = { rate = "1/day", name = "named" }
[[routes]]
name = "named-2"
path = "/named-2"
service = "api"
rate_limit = { rate = "1/day", name = "named" }
[[routes]]
name = "free"
path = "/free"
service = "api"
filters.token_bucket = false
"""


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("a b a", [200, 200, 429]),
        ("own same own same a", [200, 200, 429, 429, 200]),
        ("several several several several several", [200, 200, 200, 200, 429]),
        ("table table table", [200, 200, 429]),
        ("service-1 service-2 service-1 service-2", [200, 200, 429, 429]),
        ("named-1 named-2", [200, 429]),
        ("free free free free", [200, 200, 200, 200]),
    ],
)
async def test_how_far_a_bucket_reaches(paths: str, expected: list[int]) -> None:
    async with in_memory(PIPELINE) as gateway:
        assert [(await gateway.send("GET", f"/{path}")).status for path in paths.split()] == (
            expected
        )


async def test_an_attempt_that_is_repeated_costs_nothing_more() -> None:
    answers = [Response(503), Response(200), Response(200)]
    upstream = Recorder(*answers)
    config = PIPELINE + '[filters.retry]\non = ["503"]\nbackoff = { base = 0.001, max = 0.001 }\n'
    async with in_memory(config, upstream=upstream) as gateway:
        first = await gateway.send("GET", "/a")
    assert len(upstream.exchanges) == 2
    assert (first.status, first.headers.get("X-RateLimit-Remaining")) == (200, "1")


async def test_a_bad_limit_of_a_route_is_told_with_its_line() -> None:
    line = PIPELINE.splitlines().index('rate_limit = ["5/second", "4/day"]') + 1
    with pytest.raises(ConfigError, match=rf'gateway\.toml:{line}: .*such as "100/minute"'):
        async with in_memory(PIPELINE.replace('"5/second"', '"5/sec"')):
            pass


async def test_limits_before_the_match_are_those_of_the_gateway() -> None:
    config = """
[pipeline]
filters = ["token_bucket", "route_match", "balancer", "upstream"]
[services.api]
instances = [{ url = "http://10.0.0.1" }]
[filters.token_bucket]
rate = "2/day"
records = false
[[routes]]
name = "all"
path = "/"
match = "exact"
service = "api"
"""
    async with in_memory(config) as gateway:
        sent = [(await gateway.send("GET", path)).status for path in ("/", "/nowhere", "/")]
    assert sent == [200, 404, 429]
