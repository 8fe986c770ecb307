"""SIGHUP: load the configuration again, and let whoever runs it take it over or leave it."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Any, Literal

from gatewayd.audit import AuditEvent
from gatewayd.config.stored import save_snapshot
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.config.load import LoadedConfig
    from gatewayd.process.notify import Notifier
    from gatewayd.telemetry.metrics import Metrics

logger = logging.getLogger("gatewayd.process")


def ignore_hangups() -> None:
    """Have SIGHUP do nothing from now on; the last step of a process that ends.

    Its handler ends with the event loop: a signal after that would end the process before the log
    is written out, with a status as if it had failed.
    """
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def keep_stored(loaded: LoadedConfig) -> None:
    """Keep what the store has given to a configuration that runs, for when the store is away.

    Once for the node, and not in its workers: one of them may have taken over what another one
    then refuses.
    """
    if loaded.stored is not None:
        await asyncio.to_thread(save_snapshot, loaded.config.config, loaded.stored)


class Reloader:
    """Loads the configuration again, on a signal or when an operator asks; one at a time.

    A reload is a task of its own, so that it comes to its end, in all workers or in none, also
    where whoever asked does not wait for it. One that has not begun serves all who ask meanwhile.

    Args:
        load: Loads the configuration.
        take: Takes it over, as a whole or not at all; raises where it does not.
        audit: Records what has become of it.
        metrics: Where reloads are counted.
        notifier: Tells the service manager of them.

    """

    def __init__(
        self,
        load: Callable[[], LoadedConfig],
        take: Callable[[LoadedConfig], Awaitable[None]],
        audit: Callable[[AuditEvent], Awaitable[None]],
        metrics: Metrics,
        notifier: Notifier,
    ) -> None:
        self._load = load
        self._take = take
        self._audit = audit
        self._notifier = notifier
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[LoadedConfig] | None = None  # has not begun to load
        self._tasks: set[asyncio.Task[LoadedConfig]] = set()
        reloads = metrics.counter(
            "gatewayd_reloads", "Reloads of the configuration, by what became of them.", ("result",)
        )
        self._succeeded, self._failed = reloads.labels("success"), reloads.labels("failure")

    async def reload(self) -> LoadedConfig:
        """Reload, record what has become of it, and return what runs now.

        Cancelled, it leaves the reload going on.

        Raises:
            GatewayError: the configuration is refused; the running one stays.

        """
        if self._next is None:
            self._next = asyncio.create_task(self._reload(), name="reload")
            self._tasks.add(self._next)
            self._next.add_done_callback(self._ended)
        task = self._next
        await asyncio.wait([task])
        return task.result()

    def _ended(self, task: asyncio.Task[LoadedConfig]) -> None:
        self._tasks.discard(task)
        if self._next is task:
            self._next = None
        if not task.cancelled():
            task.exception()  # it has been told, also where nobody waits for it any more

    async def close(self) -> None:
        """Break off what is under way; for the end of the process."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reload(self) -> LoadedConfig:
        async with self._lock:
            self._next = None
            self._notifier.reloading()
            try:
                # In a thread: thousands of routes take longer than an exchange should wait.
                loaded = await asyncio.to_thread(self._load)
                await self._take(loaded)
                await keep_stored(loaded)
            except GatewayError as error:
                logger.error("reload refused, the running configuration stays:\n%s", error)  # noqa: TRY400  # the text says it all
                self._count_failure()
                await self._record("failure", reason=str(error))
                raise
            except Exception as error:
                logger.exception("reload failed, the running configuration stays")
                self._count_failure()
                await self._record("failure", reason=repr(error))
                raise GatewayError("reload failed, the log says why") from error
            self._succeeded.value += 1
            self._notifier.ready(f"reloaded, configuration {loaded.digest[:12]} is running")
            logger.info("reloaded, configuration %s is running", loaded.digest[:12])
            await self._record("success", detail={"digest": loaded.digest})
            return loaded

    def _count_failure(self) -> None:
        self._failed.value += 1
        # Not why: the reason may be many lines, and more people read this than the log.
        self._notifier.ready("reload refused, the running configuration stays; the log says why")

    async def _record(self, outcome: Literal["success", "failure"], **more: Any) -> None:
        """Have recorded what has become of it, which does not change any more."""
        try:
            await self._audit(AuditEvent("reload", outcome, **more))
        except Exception:
            logger.exception("a reload is not in the audit trail")

    async def reload_on(self, hangup: asyncio.Event) -> None:
        """Reload whenever ``hangup`` is set, until cancelled; set meanwhile, once more."""
        while True:
            await hangup.wait()
            hangup.clear()
            try:
                await self.reload()
            except GatewayError:
                continue  # it has been told
            except Exception:
                # Whatever it was, the next signal is heard.
                logger.exception("a reload did not come to its end")
