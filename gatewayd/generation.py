"""A generation: everything that one configuration makes, built and validated whole.

A reload builds a new generation beside the running one, swaps one reference, and retires the old
one when its last exchange, tunnels included, has ended. What could not be built changes nothing.
Live state that both configurations ask for with the same settings is shared (see
:class:`gatewayd.gateway.KeptState`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Any

from gatewayd.audit import Audit
from gatewayd.config.load import issues_from_validation_error, locate
from gatewayd.errors import ConfigError, ConfigIssue, GatewayError
from gatewayd.gateway import Gateway, KeptState
from gatewayd.pipeline import Pipeline
from gatewayd.readiness import Readiness
from gatewayd.redis.link import Redis
from gatewayd.routing.route import Route
from gatewayd.routing.table import RouteTable
from gatewayd.server.entry import Entry
from gatewayd.services.table import build_services
from gatewayd.store.store import Store
from gatewayd.tls import check_client_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError

    from gatewayd.admin.settings import AdminConfig
    from gatewayd.config.load import LoadedConfig
    from gatewayd.config.schema import GatewayConfig
    from gatewayd.exchange import Exchange
    from gatewayd.layers import Settings
    from gatewayd.process.board import Board
    from gatewayd.process.shared import SharedTable
    from gatewayd.registry import Plugins
    from gatewayd.services.followed import FollowedService
    from gatewayd.timers import Sweeper

logger = logging.getLogger("gatewayd.generation")
_numbers = itertools.count(1)

# Settings of the listening sockets, which live as long as the process.
_NEEDS_RESTART = ("host", "port", "workers", "backlog")
_ADMIN_NEEDS_RESTART = ("listen", "tls")


class Generation:
    """What one configuration makes: routes, services, filters, chains.

    Args:
        loaded: The configuration.
        plugins: The installed plugins.
        kept: State shared with other generations.
        sweeper: Watches the deadlines of upstream connections; its clock is the gateway's.

    Raises:
        ConfigError: the configuration cannot be used.

    """

    def __init__(
        self,
        loaded: LoadedConfig,
        plugins: Plugins,
        kept: KeptState,
        sweeper: Sweeper,
    ) -> None:
        self.number = next(_numbers)
        self.loaded = loaded
        self.services: dict[str, FollowedService] = {}
        self.in_flight = 0
        self._idle = asyncio.Event()
        self.retiring = False
        self._is_read = False
        try:
            self.entry = Entry(loaded.config.server, loaded.config.routing)
            self.routes = RouteTable(_build_routes(loaded))
            self.gateway = Gateway(
                clock=sweeper.clock,
                routes=self.routes,
                services=self.services,
                plugins=plugins,
                kept=kept,
                readiness=Readiness(sweeper.clock),
            )
            self.gateway.record_of = self._record_of
            _check_files(loaded.config)
            self.pipeline = Pipeline(loaded.config, self.gateway, self._explain)
        except ConfigError as error:
            raise ConfigError(locate(error.issues, loaded)) from error
        self.kept = kept
        self._sweeper = sweeper

    def _connect(self) -> None:
        """Give filters the store, Redis and the audit trail; nothing is opened before it is used.

        They outlive the generation where their settings stay the same.
        """
        config, keep = self.loaded.config, self.gateway.keep
        metrics = self.gateway.metrics
        of_store = ("store", config.store.model_dump_json())
        store = self.gateway.store = keep(of_store, lambda: Store(config.store, metrics))
        if (redis := config.redis) is not None:
            of_redis = ("redis", redis.model_dump_json())
            self.gateway.redis = keep(of_redis, lambda: Redis(redis, metrics))
        of_audit = ("audit", config.audit.model_dump_json(), of_store)
        self.gateway.audit = keep(of_audit, lambda: Audit(config.audit, store, metrics))

    def _record_of(self, exchange: Exchange) -> dict[str, Any]:
        from gatewayd.explain.record import explain_exchange  # here: few ask

        return explain_exchange(self, exchange)

    def compile(self) -> None:
        """Make what filters ask for, the services and the pipeline's chains; nothing is started.

        Raises:
            ConfigError: the configuration cannot be used. :meth:`close` is still owed.

        """
        config = self.loaded.config
        self._connect()
        try:
            self.services.update(
                build_services(config.services, self.gateway, self.kept, self._sweeper)
            )
            self.pipeline.compile()
        except ConfigError as error:
            raise ConfigError(locate(error.issues, self.loaded)) from error

    def _explain(self, error: ValidationError, settings: Settings) -> Sequence[ConfigIssue]:
        return issues_from_validation_error(error, settings, self.loaded)

    async def start(self) -> None:
        """Start services (the first answer of their discovery) and filters.

        Raises:
            GatewayError: something failed to start. :meth:`close` is still owed.

        """
        # Whoever reads what was counted is to see all that has ended.
        self.gateway.metrics.on_read(self.gateway.ended.flush)
        self._is_read = True
        try:
            await self.gateway.audit.start()
            await asyncio.gather(*(service.start() for service in self.services.values()))
            await self.pipeline.start()
        except ConfigError as error:
            raise ConfigError(locate(error.issues, self.loaded)) from error

    def ended(self) -> None:
        """Take notice that an exchange has ended, while retiring; the server counts them."""
        if not self.in_flight:
            self._idle.set()

    async def retire(self) -> None:
        """Wait until the last exchange has ended, then close."""
        self.retiring = True
        if self.in_flight:
            await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Close filters, then what they used; failures are logged, the rest is closed anyway.

        Safe to call twice.
        """
        self.gateway.ended.close()
        if self._is_read:
            self._is_read = False
            self.gateway.metrics.forget_reader(self.gateway.ended.flush)
        await self.gateway.readiness.close()
        await self.pipeline.close()
        for failure in await self.gateway.close():
            logger.error("generation %d: closing failed", self.number, exc_info=failure)

    def __repr__(self) -> str:
        return f"<generation {self.number}: {self.in_flight} in flight>"


def _check_files(config: GatewayConfig) -> None:
    # Not those that go with another environment's URL, which this machine need not have.
    store, redis = config.store, config.redis
    if store.tls is not None and store.tls.enabled and not store.embedded:
        check_client_files("store.tls", store.tls)
    if redis is not None and redis.encrypted:
        check_client_files("redis.tls", redis.tls)


def _build_routes(loaded: LoadedConfig) -> list[Route]:
    routes, issues = [], []
    for index, config in enumerate(loaded.config.routes):
        try:
            routes.append(Route(config, index))
        except ConfigError as error:
            issues += error.issues
    if issues:
        raise ConfigError(issues)
    return routes


class Generations:
    """The running generation of one worker, and those that are retiring.

    Args:
        plugins: The installed plugins.
        sweeper: Watches deadlines; its clock is the gateway's.
        board: What one worker of the node tells the others; ``None`` where there is one worker.
        shared: What all of them read and write; ``None`` likewise.

    Attributes:
        current: The generation that new exchanges run in; set by the first :meth:`adopt`.
        draining: Whether the worker is going to stop; it takes no new configuration then.
        kept: State that outlives generations.

    """

    current: Generation

    def __init__(
        self,
        plugins: Plugins,
        sweeper: Sweeper,
        board: Board | None = None,
        shared: SharedTable | None = None,
    ) -> None:
        self.draining = False
        self._out_of_service = False
        self._plugins = plugins
        self._sweeper = sweeper
        self.kept = KeptState(board, shared)
        self._running: Generation | None = None  # the same, before there is one as well
        self._retiring: dict[asyncio.Task[None], Generation] = {}
        self._reloading = asyncio.Lock()

    async def adopt(self, loaded: LoadedConfig) -> Generation:
        """Build and start a generation, then make it the running one.

        Raises:
            ConfigError: the configuration cannot be used; the running generation goes on.
            GatewayError: it failed to start; the running generation goes on.

        """
        async with self._reloading:
            self._refuse_if_draining()
            old = self._running
            if old is not None:
                _check_reloadable(old.loaded, loaded)
            # In a thread, because the rules of ten thousand routes take most of a second. The
            # constructor touches nothing of the loop.
            fresh = await asyncio.to_thread(
                Generation, loaded, self._plugins, self.kept, self._sweeper
            )
            try:
                fresh.compile()
                await fresh.start()
                self._refuse_if_draining()  # since then
            except BaseException:
                await fresh.close()
                raise
            fresh.gateway.readiness.draining = self._out_of_service
            self.current = self._running = fresh
            if old is not None:
                task = asyncio.create_task(old.retire(), name=f"retire generation {old.number}")
                self._retiring[task] = old
                task.add_done_callback(self._retired)
            return fresh

    def _refuse_if_draining(self) -> None:
        if self.draining:
            raise GatewayError("the worker is stopping")

    @property
    def retiring(self) -> int:
        """How many generations wait for the end of their exchanges."""
        return len(self._retiring)

    def set_out_of_service(self, wanted: bool) -> None:
        """Take the worker out of service or put it back, also for generations to come."""
        self._out_of_service = wanted
        self.current.gateway.readiness.draining = wanted or self.draining

    def start_draining(self) -> None:
        """Tell whoever asks that this worker should get no more traffic."""
        self.draining = True
        if self._running is not None:
            self._running.gateway.readiness.draining = True

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Close all generations; the exchanges have ended or been broken off before."""
        self.draining = True
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        for generation in retiring.values():
            await generation.close()
        if self._running is not None:
            await self._running.close()
            self._running = None


def _check_reloadable(running: LoadedConfig, loaded: LoadedConfig) -> None:
    before, after = running.config.server, loaded.config.server
    issues = [
        ConfigIssue("cannot be changed by a reload, restart gatewayd", key=f"server.{key}")
        for key in _NEEDS_RESTART
        if getattr(before, key) != getattr(after, key)
    ]
    issues += _admin_issues(running.config.admin, loaded.config.admin)
    if (before.tls is None) != (after.tls is None):
        issues.append(
            ConfigIssue(
                "TLS cannot be turned on or off by a reload, restart gatewayd", key="server.tls"
            )
        )
    if issues:
        raise ConfigError(locate(issues, loaded))


def _admin_issues(before: AdminConfig | None, after: AdminConfig | None) -> list[ConfigIssue]:
    if (before is None) != (after is None):
        message = "cannot be added or taken away by a reload, restart gatewayd"
        return [ConfigIssue(message, key="admin")]
    return [
        ConfigIssue("cannot be changed by a reload, restart gatewayd", key=f"admin.{key}")
        for key in _ADMIN_NEEDS_RESTART
        if getattr(before, key, None) != getattr(after, key, None)
    ]
