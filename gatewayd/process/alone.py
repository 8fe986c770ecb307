"""``workers = 1``: the worker is the only process; the service manager starts it again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

from gatewayd.audit import record_now
from gatewayd.process.reload import reload_on
from gatewayd.process.sockets import url_of
from gatewayd.process.worker import Worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gatewayd.config.load import LoadedConfig

logger = logging.getLogger("gatewayd.process")


async def serve_alone(
    loaded: LoadedConfig, load: Callable[[], LoadedConfig], listener: socket.socket
) -> None:
    """Serve until SIGTERM or SIGINT; a second one breaks off the exchanges that still run.

    Args:
        loaded: The first configuration.
        load: Loads it again on SIGHUP.
        listener: Bound socket.

    Raises:
        GatewayError: the configuration cannot be used, or the address cannot be listened on.

    """
    loop = asyncio.get_running_loop()
    hangup = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    worker = Worker(listener, loaded.plugins)
    try:
        await worker.start(loaded)
        # Not before: until here there are no exchanges, and the process may end at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        reloading = asyncio.create_task(
            reload_on(hangup, load, worker.reload, partial(record_now, loaded.config)),
            name="reload",
        )
        url = url_of(listener, tls=loaded.config.server.tls is not None)
        logger.info("listening on %s (pid %d, workers 1)", url, os.getpid())
        await worker.serve()
        reloading.cancel()
        await asyncio.wait([reloading])
    finally:
        await worker.close()
