"""``workers = 1``: the worker is the only process; the service manager starts it again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from gatewayd.admin import make_admin_server
from gatewayd.audit import record_now
from gatewayd.errors import GatewayError
from gatewayd.process.node import Answer
from gatewayd.process.reload import Reloader, ignore_hangups, keep_stored
from gatewayd.process.sockets import url_of
from gatewayd.process.worker import Worker
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from gatewayd.audit import AuditEvent
    from gatewayd.config.load import LoadedConfig
    from gatewayd.process.notify import Notifier

logger = logging.getLogger("gatewayd.process")


async def serve_alone(
    loaded: LoadedConfig,
    load: Callable[[], LoadedConfig],
    listener: socket.socket,
    notifier: Notifier,
) -> None:
    """Serve until SIGTERM or SIGINT; a second one breaks off the exchanges that still run.

    Args:
        loaded: The first configuration.
        load: Loads it again on SIGHUP.
        listener: Bound socket.
        notifier: Tells the service manager.

    Raises:
        GatewayError: the configuration cannot be used, or the address cannot be listened on.

    """
    loop = asyncio.get_running_loop()
    hangup = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # held back by `gatewayd serve`
    worker = Worker(listener, loaded.plugins)
    admin = None
    node = _Alone(worker, load, loaded, notifier)

    def stop() -> None:
        notifier.stopping()
        if worker.stopping:
            worker.break_off()
        else:
            worker.stop()

    try:
        notifier.starting()
        # First: where its address is taken, nobody was served to be cut off, and loading its code
        # takes longer than an exchange should wait.
        admin = make_admin_server(node)
        await worker.start(loaded)
        # Not before: until here there are no exchanges, and the process may end at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await keep_stored(loaded)
        if admin is not None:
            await admin.serve()
        url = url_of(listener, tls=loaded.config.server.tls is not None)
        logger.info("listening on %s (pid %d, workers 1)", url, os.getpid())
        notifier.ready(f"listening on {url}, configuration {loaded.digest[:12]} is running")
        notifier.watch(lambda: True)  # that this loop runs is what there is to know
        reloading = asyncio.create_task(node.reloader.reload_on(hangup), name="reload")
        await worker.serve()
        reloading.cancel()
        await asyncio.wait([reloading])
    finally:
        if admin is not None:
            await admin.close()
        await node.reloader.close()
        await worker.close()
        notifier.close()
        ignore_hangups()


class _Alone:
    """The node whose only process this is; see :class:`gatewayd.process.node.Node`."""

    def __init__(
        self,
        worker: Worker,
        load: Callable[[], LoadedConfig],
        first: LoadedConfig,
        notifier: Notifier,
    ) -> None:
        self._worker = worker
        self._first = first
        self.metrics = Metrics()
        self.reloader = Reloader(load, worker.reload, self.audit, self.metrics, notifier)

    @property
    def loaded(self) -> LoadedConfig:
        return self._worker.loaded if self._worker.started else self._first

    async def ask(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        seconds: float,
        lasting: str = "",  # noqa: ARG002  # no worker is started later
        one: bool = False,  # noqa: ARG002  # there is one
    ) -> list[Answer]:
        pid = os.getpid()
        try:
            async with asyncio.timeout(seconds):
                return [Answer(0, pid, result=await self._worker.commands.run(name, arguments))]
        except GatewayError as error:
            return [Answer(0, pid, error=str(error), refused=True)]
        except TimeoutError:
            return [Answer(0, pid, error=f"no answer in {seconds:g} s")]
        except Exception as error:
            logger.exception("%s failed", name)
            return [Answer(0, pid, error=repr(error), faulty=True)]

    async def reload(self) -> LoadedConfig:
        return await self.reloader.reload()

    async def audit(self, event: AuditEvent) -> None:
        await record_now(self.loaded.config, event, self.metrics)
