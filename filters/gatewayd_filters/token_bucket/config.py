"""Settings of ``token_bucket``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gatewayd import FilterConfig, HeaderName
from gatewayd_filters.token_bucket.keys import Part, Scope  # noqa: TC001  # for pydantic
from gatewayd_filters.token_bucket.limits import parse_limit

if TYPE_CHECKING:
    from gatewayd_filters.token_bucket.backend import Limit


def _checked(value: Any) -> Any:
    parse_limit(value if isinstance(value, (int, float, str)) else "")
    return value


Rate = Annotated[float | str, BeforeValidator(_checked)]
"""A limit: a number of requests per second, or text."""
Tokens = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
Limits = Annotated[tuple[Rate, ...], Field(max_length=8)]


class HeadersConfig(FilterConfig):
    """Fields that tell callers of their limit."""

    standard: bool = True
    """`RateLimit-Policy` and `RateLimit`, of draft-ietf-httpapi-ratelimit-headers."""
    legacy: bool = True
    """`X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds from now, as Envoy's and Kong's), of
    the limit that is nearest to its end."""


class LeaseConfig(FilterConfig):
    """Slices of buckets in Redis that a worker serves from memory.

    All workers together never grant more than the buckets held, but a slice may be spent later
    than it was taken: `rate x T + burst + workers x slice` in T seconds at most. Unspent tokens of
    a slice are lost at its end.
    """

    share: float = Field(0.05, gt=0, le=1)
    """Largest slice, as a share of the burst. Slices grow up to it with the caller's rate."""
    seconds: float = Field(1.0, gt=0, le=60)
    """Seconds for which a slice may be served from."""


class TokenBucketConfig(FilterConfig):
    """Settings of `token_bucket`.

    A bucket holds up to `burst` tokens and gains `rate` of them each second; a request takes
    `cost`. Where no limit is set, only callers with a limit of their own are limited.
    """

    backend: Literal["auto", "memory", "shared", "redis"] = "auto"
    """Where the buckets are. `memory`: in each worker, so that a node allows as many times the
    limit as it has workers. `shared`: in memory that all workers of the node share. `redis`: in
    Redis, for all nodes. `auto`: `memory` with one worker, else `shared`."""
    lease: LeaseConfig | None = None
    """With `backend = "redis"`: take slices of the buckets and serve from memory, for rates at
    which a call of Redis for each turn of the event loop is too much. Exact where absent."""
    rate: Rate | None = None
    """The limit: a number of requests per second, or text: `100/minute`, `10/second burst 50`.
    Periods are second, minute, hour and day."""
    burst: Tokens | None = None
    """Tokens that the bucket of `rate` holds, which is how many requests may come at once; a burst
    that stands in `rate` itself goes before it. Otherwise it is the count of one period of `rate`:
    a caller may use its `100/minute` at once, as with the windows of Kong and APISIX."""
    limits: Limits = ()
    """More limits, which hold beside `rate`, such as `["10/second", "10000/day"]`. A request takes
    tokens from all of their buckets or from none."""
    key: Part | Annotated[tuple[Part, ...], Field(min_length=1, max_length=8)] = "principal"
    """Who has a bucket: `principal`, `api_key`, `ip`, `route`, `service`, `header:NAME`,
    `claim:NAME`, or a list of these for their combination. Anonymous callers have no principal and
    go by their IP address; an `api_key` where none was shown is the principal. All requests
    without the header or claim share a bucket."""
    ipv6_prefix: int = Field(64, ge=16, le=128)
    """Bits of an IPv6 address that tell clients apart: one customer has a /64 at least (RFC 6177),
    and may use any address in it."""
    scope: Scope = "auto"
    """How far one caller's bucket reaches. `auto`: as far as the layer that sets the limit: a
    route's own limit has buckets of that route, a service's of that service, the gateway's are
    shared by all routes that have no limit of their own."""
    name: str = Field("", pattern=r"^[0-9A-Za-z._-]{0,64}$")
    """Name of the buckets; routes with the same name share them, whatever `scope` says."""
    roles: dict[str, Rate | Limits] = Field({})
    """Limits of roles, in the place of `rate` and `limits`. Who has several of the roles gets the
    limits that allow the most in the long run, whatever their bursts. A caller whose API key has a
    limit of its own gets that one, before any role."""
    cost: Tokens = 1.0
    """Tokens that a request takes."""
    cost_header: HeaderName | None = None
    """A field of the upstream's response with what the request has cost, a number. What that is
    above `cost` is taken after the response; as far as the bucket does not hold it, the caller's
    next requests have to pay, up to one burst. The field is removed from the response."""
    on_outage: Literal["closed", "open", "local"] = "closed"
    """What becomes of requests when the backend is away. `closed`: 503 `rate_limit_unavailable`.
    `open`: they pass. `local`: buckets of this node, with the limit divided by `nodes`; where the
    memory that workers share is what is away, of each worker, with the limit divided by them."""
    nodes: int = Field(1, ge=1, le=10_000)
    """Nodes that share the limits of Redis, for `on_outage = "local"`."""
    shadow: bool = False
    """Decide and count, but refuse nobody: to try a limit out."""
    headers: HeadersConfig = HeadersConfig()
    """Which fields tell callers of their limit, on allowed responses as well."""
    records: bool = True
    """Write refused requests to the store, counted per minute, route and caller."""
    max_buckets: int = Field(100_000, ge=1000, le=10_000_000)
    """Buckets that `memory` keeps, about 0.3 kB each. Beyond it full ones are forgotten first."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the key."""
        return (self.key,) if isinstance(self.key, str) else self.key

    @property
    def parsed(self) -> tuple[Limit, ...]:
        """The limits of callers that have no other."""
        first = () if self.rate is None else (parse_limit(self.rate, self.burst),)
        return (*first, *map(parse_limit, self.limits))

    @property
    def parsed_roles(self) -> list[tuple[str, tuple[Limit, ...]]]:
        """The limits of roles, those first that allow the most in the long run."""
        roles = [
            (name, tuple(map(parse_limit, value if isinstance(value, tuple) else (value,))))
            for name, value in self.roles.items()
        ]
        return sorted(roles, key=lambda role: -min((one.rate for one in role[1]), default=0.0))

    @model_validator(mode="after")
    def _can_be_kept(self) -> TokenBucketConfig:
        if self.rate is None and self.burst is not None:
            raise ValueError("burst is of no use without rate")
        for name, value in self.roles.items():
            if value == ():
                raise ValueError(f"role {name!r} has no limit")
        for limit in (*self.parsed, *(one for _, limits in self.parsed_roles for one in limits)):
            if limit.burst < self.cost:
                raise ValueError(
                    f"a request costs {self.cost:g} tokens, but a bucket holds {limit.burst:g}: "
                    "none would ever pass"
                )
        return self


def from_route(value: Any) -> dict[str, Any]:
    """Return what the shorthand ``rate_limit`` of a route stands for.

    It replaces the limit of the layers above as a whole. A number or text is the rate, a list
    several limits, a table any settings of this filter.
    """
    limits: dict[str, Any] = {"rate": None, "burst": None, "limits": ()}
    if isinstance(value, dict):
        return limits | value
    return limits | {"limits" if isinstance(value, list) else "rate": value}
