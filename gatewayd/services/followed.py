"""A service whose instances its discovery tells."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from gatewayd.config.types import ServiceUrl
from gatewayd.errors import GatewayError
from gatewayd.services.instance import Instance
from gatewayd.services.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayd.config.schema import ServiceConfig
    from gatewayd.services.discovery import Discovery, InstanceSpec
    from gatewayd.services.health import Health
    from gatewayd.services.pools import Pools
    from gatewayd.timers import Clock

FIRST_ANSWER_SECONDS = 5.0
"""How long a start waits for the first answer of a discovery. A source that is slow or down costs
its own service, not all the others."""

logger = logging.getLogger("gatewayd.services")
_url = TypeAdapter[str](ServiceUrl)


class FollowedService(Service):
    """A service with what keeps its instances up to date.

    Args:
        name: Its name.
        config: Its settings.
        discovery: Tells its instances.
        pools: Connections to them.
        clock: The gateway's clock.
        health: What is known of their health; ``None`` where nothing watches it.

    """

    __slots__ = ("_closed", "_discovery", "_following", "_health", "_pools")

    def __init__(
        self,
        name: str,
        config: ServiceConfig,
        discovery: Discovery,
        pools: Pools,
        clock: Clock,
        health: Health | None,
    ) -> None:
        super().__init__(name, config, clock)
        self._discovery = discovery
        self._pools = pools
        self._health = health
        if health is not None:
            health.attach(self)
        self._following: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start the discovery, once for all generations, and wait for its first answer.

        Raises:
            GatewayError: the discovery failed to start.

        """
        following = self._following
        if following is None or (following.done() and _failure_of(following)):
            start = self._discovery.start(self.update)
            following = asyncio.create_task(start, name=f"discovery of {self.name}")
            self._following = following
        await asyncio.wait([following], timeout=FIRST_ANSWER_SECONDS)
        if not following.done():
            logger.warning("service %s: no answer from discovery yet, going on", self.name)
            following.add_done_callback(self._log_failure)
        elif (error := _failure_of(following)) is not None:
            raise GatewayError(f"service {self.name!r}: discovery failed: {error!r}") from error
        if self._health is not None:
            self._health.start()

    def _log_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("service %s: discovery failed", self.name, exc_info=error)

    def update(self, specs: Sequence[InstanceSpec]) -> None:
        """Take over what discovery tells: all instances that there are now.

        One that stays keeps its object and its connections. The connections of one that is gone
        end with their exchanges.
        """
        if self._closed:
            return
        wanted = self._distinct(specs)
        gone = self.instances.keys() - wanted.keys()
        self.replace([self._instance(spec) for spec in wanted.values()])
        for url in gone:
            self._pools.release(url)
        if gone and self._health is not None:
            self._health.forget_gone()

    def _distinct(self, specs: Iterable[InstanceSpec]) -> dict[str, InstanceSpec]:
        """Sort instances by URL; one that is told twice is one with the sum of the weights."""
        distinct: dict[str, InstanceSpec] = {}
        for spec in specs:
            try:
                url = _url.validate_python(spec.url)
            except ValueError:
                without_password = spec.url.rpartition("@")[2]
                logger.error("service %s: %r is no URL of an instance", self.name, without_password)  # noqa: TRY400  # its trace says nothing more
                continue
            known = distinct.get(url)
            if known is not None:
                logger.warning("service %s: instance %s is there twice", self.name, url)
                weight, healthy = known.weight + spec.weight, known.healthy and spec.healthy
                distinct[url] = replace(known, weight=weight, healthy=healthy)
            else:
                distinct[url] = replace(spec, url=url)
        return distinct

    def _instance(self, spec: InstanceSpec) -> Instance:
        instance = self.instances.get(spec.url)
        if instance is None:
            instance = Instance(self.name, spec, self._pools.acquire(spec.url))
            if self._health is not None:
                self._health.adopt(instance)
            return instance
        instance.weight, instance.zone, instance.healthy = spec.weight, spec.zone, spec.healthy
        return instance

    async def close(self) -> None:
        """Stop the discovery and give the connections back."""
        self._closed = True
        if self._health is not None:
            self._health.detach(self)
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        instances = self.instances
        self.replace(())
        for url in instances:
            self._pools.release(url)
        if self._health is not None:
            self._health.forget_gone()
        if self._following is not None:
            await self._discovery.close()  # last, as it may be a plugin's and fail


def _failure_of(task: asyncio.Task[None]) -> BaseException | None:
    """Return why it failed; what it waited for may have been cancelled by whoever wrote it."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()
