"""SIGHUP: load the configuration again, and let whoever runs it take it over or leave it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gatewayd.audit import AuditEvent
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.config.load import LoadedConfig
    from gatewayd.telemetry.metrics import Metrics

logger = logging.getLogger("gatewayd.process")


class Reloader:
    """Loads the configuration again, on a signal or when an operator asks; one at a time.

    Args:
        load: Loads the configuration.
        take: Takes it over, as a whole or not at all; raises where it does not.
        audit: Records what has become of it.
        metrics: Where reloads are counted.

    """

    def __init__(
        self,
        load: Callable[[], LoadedConfig],
        take: Callable[[LoadedConfig], Awaitable[None]],
        audit: Callable[[AuditEvent], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._load = load
        self._take = take
        self._audit = audit
        self._lock = asyncio.Lock()
        reloads = metrics.counter(
            "gatewayd_reloads", "Reloads of the configuration, by what became of them.", ("result",)
        )
        self._succeeded, self._failed = reloads.labels("success"), reloads.labels("failure")

    async def reload(self) -> LoadedConfig:
        """Reload, record what has become of it, and return what runs now.

        Raises:
            GatewayError: the configuration is refused; the running one stays.

        """
        async with self._lock:
            try:
                # In a thread: thousands of routes take longer than an exchange should wait.
                loaded = await asyncio.to_thread(self._load)
                await self._take(loaded)
            except GatewayError as error:
                logger.error("reload refused, the running configuration stays:\n%s", error)  # noqa: TRY400  # the text says it all
                self._failed.value += 1
                await self._audit(AuditEvent("reload", "failure", reason=str(error)))
                raise
            except Exception as error:
                logger.exception("reload failed, the running configuration stays")
                self._failed.value += 1
                await self._audit(AuditEvent("reload", "failure", reason=repr(error)))
                raise GatewayError("reload failed, the log says why") from error
            self._succeeded.value += 1
            logger.info("reloaded, configuration %s is running", loaded.digest[:12])
            await self._audit(AuditEvent("reload", "success", detail={"digest": loaded.digest}))
            return loaded

    async def reload_on(self, hangup: asyncio.Event) -> None:
        """Reload whenever ``hangup`` is set, until cancelled; set meanwhile, once more."""
        while True:
            await hangup.wait()
            hangup.clear()
            with suppress(GatewayError):  # it has been told
                await self.reload()
