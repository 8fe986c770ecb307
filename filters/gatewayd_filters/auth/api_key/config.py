"""Settings of the authentication method ``api_key``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from gatewayd import FilterConfig, HeaderName, Seconds, check_pepper


def _strong(pepper: SecretStr) -> SecretStr:
    check_pepper(pepper.get_secret_value())
    return pepper


class ApiKeyConfig(FilterConfig):
    """Settings of the method `api_key`.

    All keys are held in memory, so that no request waits for the database. A key that is revoked is
    refused within 2 s where Redis is configured, and within 10 s without it; a new key is known as
    fast.
    """

    header: HeaderName = "X-API-Key"
    """Field that clients show their key in."""
    query: str = Field("api_key", pattern=r"^[A-Za-z0-9_.~-]{1,64}$")
    """Query parameter that they may show it in instead, on routes with `allow_query` of `auth`."""
    forward: bool = False
    """Whether the key in `header` goes upstream. It is the gateway's secret, so no; Kong forwards
    it unless told to hide it."""
    pepper: Annotated[SecretStr, AfterValidator(_strong)] | None = None
    """Secret that keys are hashed with: 32 or more random characters, the same on all nodes that
    share a database, best as `"${API_KEY_PEPPER}"`. Needed unless the store is SQLite.
    With another pepper all keys are worthless."""
    pepper_file: str = Field("var/api_key.pepper", min_length=1)
    """Where the pepper lies if `pepper` is absent. `gatewayd keys create` makes it."""
    on_outage: Literal["stale", "closed"] = "stale"
    """What becomes of requests while the database is away: `stale` goes on with the keys that were
    known, and starts with those of `snapshot_file`; `closed` answers 503."""
    max_stale: Seconds = 3600.0
    """Longest time of an outage that `stale` bears; then 503. A key that is revoked meanwhile works
    for as long. The hour is that of short-lived tokens, which nobody can revoke either."""
    snapshot_file: str = Field("var/api_keys.snapshot", min_length=1)
    """Where `stale` keeps what is known, hashes only, for a start without the database."""
    poll_interval: Annotated[float, Field(gt=0, le=6)] = 5.0
    """Seconds between two looks into the database; 10 s for a revoked key follow from it."""
    redis_interval: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Seconds between two questions to Redis whether keys have changed."""
    max_keys: int = Field(100_000, ge=1, le=5_000_000)
    """Keys that are held in memory, about 1.5 KB each. Where there are more, those that were not
    loaded are answered 503, as they cannot be told from invalid ones."""
