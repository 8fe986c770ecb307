"""What the host gives to filters: everything that a filter may know of the gateway around it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gatewayd.admin.operations import AdminOperations
from gatewayd.audit import Audit
from gatewayd.cancellation import is_cancelled
from gatewayd.ended import EndedExchanges
from gatewayd.errors import GatewayError
from gatewayd.events import Events
from gatewayd.explain.records import Records
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from gatewayd.exchange import Exchange
    from gatewayd.observation import Observation
    from gatewayd.process.board import Board
    from gatewayd.process.shared import SharedTable
    from gatewayd.readiness import Readiness
    from gatewayd.redis.link import Redis
    from gatewayd.registry import Plugins
    from gatewayd.routing.table import RouteTable
    from gatewayd.services.service import Service
    from gatewayd.store.store import Store
    from gatewayd.timers import Clock

T = TypeVar("T")
logger = logging.getLogger("gatewayd")


class _Kept(Generic[T]):
    __slots__ = ("users", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        self.users = 0


class KeptState:
    """Live state that outlives a generation where its own settings did not change.

    Connection pools, balancers, buckets and breakers are asked for by a key that holds everything
    they depend on. A generation that asks for the same key as the one before it gets the same
    object; what no generation uses any more is closed.

    Args:
        board: What one worker of the node tells the others; ``None`` where there is one worker.
        shared: What all of them read and write; ``None`` likewise.

    Attributes:
        board, shared: The same.
        events: Who wants to know of what changes in such state.
        metrics: What this worker counts.
        explanations: Records of exchanges that were explained.

    """

    def __init__(self, board: Board | None = None, shared: SharedTable | None = None) -> None:
        self.board = board
        self.shared = shared
        self.events = Events()
        self.metrics = Metrics()
        self.explanations = Records()
        self._kept: dict[Hashable, _Kept[Any]] = {}

    def acquire(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the object of ``key``, made by ``make`` if there is none, and count one user."""
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(make())
        kept.users += 1
        value: T = kept.value
        return value

    def release(self, key: Hashable) -> Any:
        """Count one user less; returns the object if it was the last, for the caller to close."""
        kept = self._kept[key]
        kept.users -= 1
        if kept.users:
            return None
        del self._kept[key]
        return kept.value

    def __len__(self) -> int:
        return len(self._kept)


class Gateway:
    """The gateway as one generation's filters see it.

    Attributes:
        clock: Returns monotonic seconds; the clock of ``Exchange.received_at`` and ``deadline``.
        log: Logger for whatever has no logger of its own.
        routes: The route table.
        services: The services, by name.
        plugins: The installed plugins.
        readiness: Where a filter registers what it depends on.
        admin: Where a filter offers operations to operators.
        events: Where a filter hears of changes of state, and tells of its own.
        metrics: Where a filter counts.
        audit: Where a filter tells of what has to be accounted for.
        store: The SQL database. A filter that uses it awaits its ``start`` first.
        redis: The connection to Redis, ``None`` where none is configured; ``start`` as well.
        shared: Memory that all workers of the node share; ``None`` where there is one worker.
        ended: Who tells of exchanges that have ended hears of them here.
        observers: What :meth:`observe` was given.
        observe_next: Has an observation made of the next exchange, at no cost for the others; set
            by the pipeline.
        record_of: Makes the record of an exchange; set by the generation.

    """

    def __init__(
        self,
        *,
        clock: Clock,
        routes: RouteTable,
        services: Mapping[str, Service],
        plugins: Plugins,
        kept: KeptState,
        readiness: Readiness,
        audit: Audit | None = None,
        store: Store | None = None,
        redis: Redis | None = None,
    ) -> None:
        self.clock = clock
        self.log = logger
        self.routes = routes
        self.services = services
        self.plugins = plugins
        self.readiness = readiness
        self.admin = AdminOperations()
        self.events = kept.events
        self.metrics = kept.metrics
        self.audit = audit or Audit()
        self.store = store
        self.redis = redis
        self.shared = kept.shared
        self.ended = EndedExchanges(clock)
        self.observers: list[Callable[[Exchange], Observation | None]] = []
        self.observe_next: Callable[[Observation], None] = lambda _: None
        self.record_of: Callable[[Exchange], dict[str, Any]] = lambda _: {}
        self._kept = kept
        self._keys: list[Hashable] = []

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return live state that survives a reload as long as ``key`` stays the same.

        Args:
            key: Everything that the state depends on, with the filter's name first.
            make: Makes it where no running generation has it. If it has a ``close`` method, that is
                called (and awaited) when no generation uses it any more.

        """
        value = self._kept.acquire(key, make)
        self._keys.append(key)
        return value

    def observe(self, wants: Callable[[Exchange], Observation | None]) -> None:
        """Ask ``wants`` at the entry of every exchange for an observation to make.

        For a filter's constructor. The first one that is given is made, a detailed one before
        others. What the filters did is in ``exchange.observation`` when the exchange has
        ended.
        """
        self.observers.append(wants)

    def explain(self, exchange: Exchange) -> dict[str, Any]:
        """Return the record of an exchange, as far as it has come; it is kept for a while."""
        record = self.record_of(exchange)
        self._kept.explanations.add(record)
        return record

    async def close(self) -> list[Exception]:
        """Give back everything that was kept for this generation; returns what closing raised."""
        failures: list[Exception] = []
        while self._keys:
            value = self._kept.release(self._keys.pop())
            close = getattr(value, "close", None)
            if close is None:
                continue
            try:
                result = close()
                if inspect.isawaitable(result):
                    await result
            except Exception as failure:
                failures.append(failure)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                failures.append(GatewayError(f"closing {value!r} awaited what was cancelled"))
        return failures
