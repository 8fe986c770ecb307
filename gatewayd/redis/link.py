"""The connection to Redis as filters see it: up or away, and never a wait without a bound.

A task owns the client, as coredis asks for: it is entered and left there. When calls fail in a row,
the task throws the client away, with whatever connections hang, and tries in the background until a
new one works. Until then every call is refused at once: no request finds out for itself, at the
cost of its time-out, that Redis is away.

A Redis that answers, but does not do what it is asked (it has no memory left, or its user lacks a
right), is as little use to who asks, but its client is kept: to refuse costs no time-out, and a new
client would be refused the same. Only where another server may have taken its place, as after a
fail-over, a new client looks for that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeVar

from gatewayd.errors import GatewayError
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.redis.clients import Client
    from gatewayd.redis.settings import RedisConfig

T = TypeVar("T")
logger = logging.getLogger("gatewayd.redis")

# For a first connection, and to part with one that hangs: several round trips, in a cluster more.
_CONNECT_FACTOR = 5

# How long after a refusal other calls may succeed (Redis without memory still reads) and prove
# nothing: an outage is not to begin and end all the time.
_REFUSING_SECONDS = 10.0
_MAX_REASONS = 8  # of one outage that are logged


class RedisUnavailable(GatewayError):  # noqa: N818  # an event, which callers have policies for
    """Redis is away, refuses, or did not answer in time; the latter may have been done."""


class Redis:
    """The connection to Redis.

    Args:
        config: Its settings.
        metrics: Where calls are counted.

    """

    def __init__(self, config: RedisConfig, metrics: Metrics | None = None) -> None:
        self.config = config
        counted = metrics or Metrics()
        calls = counted.counter("gatewayd_redis_calls", "Calls of Redis.", ("result",))
        self._counts = {name: calls.labels(name) for name in ("success", "failure", "refused")}
        self._seconds = counted.histogram("gatewayd_redis_seconds", "Time of calls of Redis.")
        self._up = counted.gauge(
            "gatewayd_redis_up",
            "Whether Redis is there and does what it is asked, for all workers.",
            combine="min",
        ).labels()
        self._client: Client | None = None
        self._failures = 0
        self._broken = asyncio.Event()
        self._tried = asyncio.Event()
        self._reason = "it has not been connected yet"
        self._refused_at: float | None = None
        self._reasons: set[str] = set()
        self._owner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and go on trying where that fails; safe to call again."""
        if self._owner is None:
            self._owner = asyncio.create_task(self._own(), name="gatewayd redis")
        await self._tried.wait()

    async def close(self) -> None:
        """Close all connections."""
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)

    @property
    def up(self) -> bool:
        """Whether it is there, as far as is known."""
        return self._client is not None

    async def check(self) -> None:
        """Ask whether it answers and does what it is asked, for readiness.

        Raises:
            RedisUnavailable: it does not.

        """
        if self._is_refusing():
            raise RedisUnavailable(self._reason)
        await self.call(lambda client: client.ping())

    async def version(self, topic: str) -> int:
        """Return how often :meth:`bump` was called for a topic.

        Raises:
            RedisUnavailable: it cannot be told.

        """
        value = await self.call(lambda client: client.get(self._topic(topic)))
        return int(value or 0)

    async def bump(self, topic: str) -> int:
        """Tell all nodes that what a topic stands for has changed; returns the new version.

        Raises:
            RedisUnavailable: they may not have been told.

        """
        return await self.call(lambda client: client.incr(self._topic(topic)))

    def _topic(self, topic: str) -> str:
        return f"{self.config.prefix}version:{topic}"

    async def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run ``work`` with the client, within ``timeout``.

        It is never run again: what it has done before a time-out is not known.

        Raises:
            RedisUnavailable: Redis is away or late, or refuses what was asked for.
            coredis.exceptions.NoScriptError: it does not know a script, and has run nothing.

        """
        from coredis.exceptions import NoScriptError, RedisError, ResponseError

        client = self._client
        if client is None:
            self._counts["refused"].value += 1
            raise RedisUnavailable(self._reason)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.config.timeout):
                result = await work(client)
        except NoScriptError:
            raise
        except (RedisError, OSError, TimeoutError, ExceptionGroup) as error:
            self._counts["failure"].value += 1
            if isinstance(error, ResponseError):
                self._note_refusal(error)
            else:
                self._reason = str(error) or f"no answer within {self.config.timeout:g} s"
            if not isinstance(error, ResponseError) or _is_misplaced(error):
                self._note_failure(client)
            raise RedisUnavailable(self._reason) from error
        self._seconds.labels().observe(time.monotonic() - started)
        self._counts["success"].value += 1
        self._failures = 0
        if self._refused_at is not None and not self._is_refusing():
            self._forget_refusals()
            logger.info("Redis does again what it is asked")
        return result

    def _is_refusing(self) -> bool:
        """Whether it has refused something lately."""
        refused_at = self._refused_at
        return refused_at is not None and time.monotonic() - refused_at < _REFUSING_SECONDS

    def _note_refusal(self, error: Exception) -> None:
        """Tell of each reason once in an outage."""
        self._reason = f"it refuses: {error}"[:200]
        self._refused_at = time.monotonic()
        self._up.value = 0
        if self._reason not in self._reasons and len(self._reasons) < _MAX_REASONS:
            self._reasons.add(self._reason)
            logger.warning("Redis does not do what it is asked: %s", self._reason)

    def _forget_refusals(self) -> None:
        self._refused_at = None
        self._reasons.clear()
        self._up.value = 1

    def _note_failure(self, client: Client) -> None:
        if client is self._client:  # and not one that was thrown away meanwhile
            self._failures += 1
            if self._failures >= self.config.failures:
                self._leave()

    def _leave(self) -> None:
        """Count it as away from now on."""
        self._client = None
        self._up.value = 0
        self._broken.set()
        if not self._is_refusing():  # of which the log has told
            logger.warning("Redis is away: %s", self._reason)

    async def _own(self) -> None:
        told = False
        while True:
            try:
                await self._connect_and_hold()
            except Exception as error:  # whatever a client library raises, groups included
                self._reason = _why(error) or f"no answer within {self._connect_seconds:g} s"
                if not told:
                    logger.warning("Redis cannot be reached: %s", self._reason)
                told = True
            else:
                told = False
            finally:
                self._client = None
                self._up.value = 0
                self._tried.set()
            await asyncio.sleep(self.config.probe_interval)

    @property
    def _connect_seconds(self) -> float:
        return self.config.timeout * _CONNECT_FACTOR

    async def _connect_and_hold(self) -> None:
        """Connect, and return when the client was broken; cancelled, leave it in order."""
        from gatewayd.redis.clients import open_client

        async with asyncio.timeout(self._connect_seconds) as limit:
            async with open_client(self.config) as client:
                await client.ping()
                limit.reschedule(None)
                self._broken.clear()
                self._failures = 0
                self._client = client
                if not self._is_refusing():  # or it may be the same one, that answers and refuses
                    self._forget_refusals()
                    if self._tried.is_set():
                        logger.info("Redis is there")
                self._tried.set()
                await self._broken.wait()
                # To part with connections that hang must not take for ever either.
                now = asyncio.get_running_loop().time()
                limit.reschedule(now + self._connect_seconds)


def _why(error: Exception) -> str:
    """Return what an error says; the first of a group, which itself says nothing."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return "" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"


def _is_misplaced(error: Exception) -> bool:
    """Whether another server may do what this one refuses, which a new client finds."""
    from coredis.exceptions import ClusterDownError, ReadOnlyError, TryAgainError

    return isinstance(error, (ClusterDownError, ReadOnlyError, TryAgainError))
