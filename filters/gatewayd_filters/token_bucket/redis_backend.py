"""Buckets in Redis, which all nodes share: exact, on Redis' own clock.

What is asked within one turn of the event loop goes to Redis together, as one call of one script:
a call for each question costs ten times as much. It is sent once. After a time-out nobody knows
whether the tokens were taken, and asking again could take them twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from functools import lru_cache
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from gatewayd import RedisUnavailable
from gatewayd_filters.token_bucket.backend import BackendUnavailable, Charge
from gatewayd_filters.token_bucket.memory import judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from gatewayd import Redis
    from gatewayd_filters.token_bucket.backend import Limit, Verdict
    from gatewayd_filters.token_bucket.meter import Meter

    Question: TypeAlias = "tuple[Sequence[Charge], asyncio.Future[Verdict]]"

MAX_BATCH = 128
"""Questions in one call: some hundred microseconds, for which Redis does nothing else."""
MAX_WAITING = 10_000
"""Questions that may wait for an answer; more of them are an outage."""

logger = logging.getLogger("gatewayd.filters.token_bucket")

_SCRIPT = files("gatewayd_filters.token_bucket").joinpath("take.lua").read_bytes()
_SHA1 = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()  # Redis' name for the script

# Writes a full bucket that expires at once: a missing one is full, but DEL would be one right more
# for the gateway's user.
_FILL = b"""
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
return redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. now .. ' 0 ' .. now, 'PX', '1')
"""


@lru_cache(maxsize=4096)
def _numbers(limit: Limit, cost: float) -> str:
    """Write what a charge says beside its bucket, once: digits of floats take the longest."""
    return f"{limit.rate!r} {limit.burst!r} {cost!r}"


class RedisBackend:
    """Token buckets in Redis.

    Args:
        redis: The connection.
        prefix: What the names of buckets begin with.
        meter: Is told what all nodes together were granted in each window.

    """

    def __init__(self, redis: Redis, *, prefix: str, meter: Meter) -> None:
        self._redis = redis
        self._meter = meter
        self._prefix = prefix
        self._cluster = redis.config.cluster
        self._pending: list[Question] = []
        self._waiting = 0
        self._failing = False
        self._names: dict[str, str] = {}
        self._calls: set[asyncio.Task[None]] = set()

    def take(self, charges: Sequence[Charge]) -> Awaitable[Verdict]:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.take`."""
        if not self._redis.up or self._waiting >= MAX_WAITING:
            raise BackendUnavailable
        loop = asyncio.get_running_loop()
        if not self._pending:
            loop.call_soon(self._send)
        answer: asyncio.Future[Verdict] = loop.create_future()
        self._pending.append((charges, answer))
        self._waiting += 1
        return answer

    def _send(self) -> None:
        """Send what was asked in this turn of the loop."""
        pending, self._pending = self._pending, []
        for batch in self._batches(pending):
            task = asyncio.create_task(self._ask(batch), name="gatewayd token buckets")
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    def _batches(self, pending: list[Question]) -> Iterator[list[Question]]:
        """Divide questions: in a cluster by slot, which the caller in a name decides."""
        groups: dict[str, list[Question]] = {}
        for question in pending:
            key = _tag(question[0][0].key) if self._cluster else ""
            groups.setdefault(key, []).append(question)
        for group in groups.values():
            for start in range(0, len(group), MAX_BATCH):
                yield group[start : start + MAX_BATCH]

    async def _ask(self, batch: list[Question]) -> None:
        indices: dict[str, int] = {}
        limits: dict[str, Limit] = {}
        numbers: list[str] = []
        for charges, _ in batch:
            numbers.append(str(len(charges)))
            for charge in charges:
                limits[charge.key] = charge.limit
                index = indices.setdefault(charge.key, len(indices) + 1)
                numbers.append(f"{index} {_numbers(charge.limit, charge.cost)}")
        names = [self._name(key) for key in indices]
        try:
            answered = await self._run(names, [self._meter.window, " ".join(numbers)])
            answers = iter(answered.split())
            for charges, answer in batch:
                next(answers)
                held = [float(text) for text in islice(answers, len(charges))]
                if not answer.done():  # its caller has gone
                    answer.set_result(judge(charges, held))
            keys = list(indices)
            for number in answers:
                index = int(number)
                if index < 0:
                    self._note_damaged(keys[-index - 1])
                    continue
                key, granted, seconds = keys[index - 1], next(answers), next(answers)
                self._meter.observe(key, limits[key], float(granted), float(seconds))
            self._failing = False
        except RedisUnavailable as error:  # of which the link has told
            _fail(batch, error)
        except Exception as error:
            _fail(batch, error)
            if not self._failing:  # an outage is told of once
                logger.warning("Redis' answer about token buckets cannot be used: %.200r", error)
            self._failing = True
        except asyncio.CancelledError as error:
            _fail(batch, error)
            raise
        finally:
            self._waiting -= len(batch)

    def _note_damaged(self, key: str) -> None:
        """Count a bucket that began anew, and tell of the first; its caller may be a secret."""
        damaged = self._meter.damaged
        if not damaged.value:
            logger.warning(
                "a token bucket in Redis could not be read, and is a full one now (limit %.64r); "
                "further ones are only counted",
                key.partition("|")[0],
            )
        damaged.value += 1

    async def _run(self, names: list[str], arguments: list[float | str]) -> bytes:
        from coredis.exceptions import NoScriptError

        try:
            return await self._redis.call(
                lambda client: client.evalsha(_SHA1, keys=names, args=arguments)  # type: ignore[arg-type,return-value]
            )
        except NoScriptError:  # a server that has started since: nothing was run, so it may be
            return await self._redis.call(
                lambda client: client.eval(_SCRIPT, keys=names, args=arguments)  # type: ignore[arg-type,return-value]
            )

    def _name(self, key: str) -> str:
        """Return a bucket's name in Redis: its caller in braces, which decide the slot."""
        name = self._names.get(key)
        if name is None:
            if len(self._names) >= MAX_WAITING:
                self._names.clear()
            label = key.partition("|")[0]
            name = self._names[key] = f"{self._prefix}{{{_tag(key)}}}:{label}"
        return name

    async def held(self, charge: Charge) -> float:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.held`."""
        verdict = await self.take((Charge(charge.key, charge.limit, 0.0),))
        return verdict.remaining[0]

    async def fill(self, charge: Charge) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.fill`."""
        name, burst = self._name(charge.key), repr(charge.limit.burst)
        try:
            await self._redis.call(lambda client: client.eval(_FILL, keys=[name], args=[burst]))
        except RedisUnavailable as error:
            raise BackendUnavailable(repr(error)) from error

    async def start(self) -> None:
        """Connect; see :meth:`gatewayd_filters.token_bucket.backend.Backend.start`."""
        await self._redis.start()

    async def close(self) -> None:
        """See :meth:`gatewayd_filters.token_bucket.backend.Backend.close`."""
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


def _tag(key: str) -> str:
    """Return what all buckets of a caller have in common, free of braces."""
    caller = key.partition("|")[2]
    return caller.replace("%", "%25").replace("{", "%7B").replace("}", "%7D") or "all"


def _fail(batch: list[Question], error: BaseException) -> None:
    """Answer all questions that have no answer yet with an outage."""
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(BackendUnavailable(repr(error)))
