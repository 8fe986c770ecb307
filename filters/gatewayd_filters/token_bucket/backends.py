"""Which backend a configuration gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd import ConfigError, ConfigIssue
from gatewayd_filters.token_bucket.memory import MemoryBackend
from gatewayd_filters.token_bucket.meter import Meter
from gatewayd_filters.token_bucket.shared import SharedBackend

if TYPE_CHECKING:
    from gatewayd import Gateway
    from gatewayd_filters.token_bucket.backend import Backend
    from gatewayd_filters.token_bucket.config import TokenBucketConfig


def make_backend(config: TokenBucketConfig, gateway: Gateway) -> Backend:
    """Return the backend that the settings ask for; filters share it, also over reloads.

    Raises:
        ConfigError: it needs what is not configured.

    """
    if config.backend == "redis":
        return _redis(config, gateway)
    if config.lease is not None:
        raise ConfigError(ConfigIssue('leases are of buckets with backend = "redis"', key="lease"))
    if config.backend == "memory":
        return _memory(config, gateway)
    return _node(config, gateway)


def make_local(
    config: TokenBucketConfig, gateway: Gateway
) -> tuple[MemoryBackend | SharedBackend, int]:
    """Return the backend for outages of the other one, and how many such share a limit.

    Without Redis each node has its part, and without the shared memory each worker.
    """
    if config.backend == "redis":
        return _node(config, gateway), config.nodes
    workers = 1 if gateway.shared is None else gateway.shared.workers
    return _memory(config, gateway), workers


def _node(config: TokenBucketConfig, gateway: Gateway) -> MemoryBackend | SharedBackend:
    """Return the backend of this node: shared where there are several workers."""
    shared = gateway.shared
    if shared is None:
        return _memory(config, gateway)
    return gateway.keep(
        ("token_bucket", "shared"), lambda: SharedBackend(shared, Meter(gateway.metrics))
    )


def _memory(config: TokenBucketConfig, gateway: Gateway) -> MemoryBackend:
    return gateway.keep(
        ("token_bucket", "memory", config.max_buckets),
        lambda: MemoryBackend(gateway.clock, config.max_buckets, Meter(gateway.metrics)),
    )


def _redis(config: TokenBucketConfig, gateway: Gateway) -> Backend:
    redis = gateway.redis
    if redis is None:
        message = 'backend = "redis" needs the section [redis] with the address of a server'
        raise ConfigError(ConfigIssue(message, key="backend"))
    # Here, because only who uses it is to load its client.
    from gatewayd_filters.token_bucket.redis_backend import RedisBackend

    backend = gateway.keep(
        ("token_bucket", "redis", redis),
        lambda: RedisBackend(
            redis, prefix=f"{redis.config.prefix}bucket:", meter=Meter(gateway.metrics)
        ),
    )
    lease = config.lease
    if lease is None:
        return backend
    from gatewayd_filters.token_bucket.leased import LeasedBackend

    return gateway.keep(
        ("token_bucket", "leased", redis, lease),
        lambda: LeasedBackend(backend, gateway.clock, share=lease.share, seconds=lease.seconds),
    )
