"""What the host gives to filters: everything that a filter may know of the gateway around it."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gatewayd.audit import Audit
from gatewayd.events import Events
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from gatewayd.exchange import Exchange
    from gatewayd.process.board import Board
    from gatewayd.process.shared import SharedTable
    from gatewayd.redis.link import Redis
    from gatewayd.registry import Plugins
    from gatewayd.routing.table import RouteTable
    from gatewayd.services.service import Service
    from gatewayd.store.store import Store
    from gatewayd.timers import Clock

T = TypeVar("T")
logger = logging.getLogger("gatewayd")


class Readiness:
    """Whether this worker should get traffic, and what one generation depends on for it.

    Attributes:
        draining: Set when the worker stops; it is not ready from then on.

    """

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, tuple[Callable[[], Awaitable[None]], bool]] = {}

    def add(self, name: str, check: Callable[[], Awaitable[None]], *, gates: bool = True) -> None:
        """Register a dependency.

        Args:
            name: Its name, such as ``redis``.
            check: Raises if the dependency does not work; bounded in time by whoever calls it.
            gates: Whether its failure makes the worker not ready.

        """
        self._checks[name] = (check, gates)

    @property
    def checks(self) -> Mapping[str, tuple[Callable[[], Awaitable[None]], bool]]:
        """The registered dependencies: check, and whether it gates readiness."""
        return self._checks


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

    """

    def __init__(self, board: Board | None = None, shared: SharedTable | None = None) -> None:
        self.board = board
        self.shared = shared
        self.events = Events()
        self.metrics = Metrics()
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
        events: Where a filter hears of changes of state, and tells of its own.
        metrics: Where a filter counts.
        audit: Where a filter tells of what has to be accounted for.
        store: The SQL database. A filter that uses it awaits its ``start`` first.
        redis: The connection to Redis, ``None`` where none is configured; ``start`` as well.
        shared: Memory that all workers of the node share; ``None`` where there is one worker.
        observers: What :meth:`observe` was given.

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
        self.events = kept.events
        self.metrics = kept.metrics
        self.audit = audit or Audit()
        self.store = store
        self.redis = redis
        self.shared = kept.shared
        self.observers: list[Callable[[Exchange], bool]] = []
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

    def observe(self, wants: Callable[[Exchange], bool]) -> None:
        """Ask ``wants`` at the entry of every exchange whether it is to be observed.

        For a filter's constructor. What the filters did is under
        :data:`gatewayd.observation.OBSERVATION` when the exchange has ended.
        """
        self.observers.append(wants)

    async def close(self) -> list[Exception]:
        """Give back everything that was kept for this generation; returns what closing raised."""
        failures: list[Exception] = []
        while self._keys:
            close = getattr(self._kept.release(self._keys.pop()), "close", None)
            if close is None:
                continue
            try:
                result = close()
                if inspect.isawaitable(result):
                    await result
            except Exception as failure:
                failures.append(failure)
        return failures
