"""A worker: one process with one event loop that accepts connections and serves them.

With ``workers = 1`` it is the only process, see :mod:`gatewayd.process.alone`. Otherwise it belongs
to a supervisor, see :mod:`gatewayd.process.supervised`.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gatewayd.admin.commands import Commands
from gatewayd.config.load import locate
from gatewayd.errors import ConfigError
from gatewayd.generation import Generations
from gatewayd.process import logs
from gatewayd.process.sockets import ListenError
from gatewayd.server import Server
from gatewayd.server.tls import TlsContext
from gatewayd.telemetry.state import StateMetrics
from gatewayd.telemetry.watchdog import Watchdog
from gatewayd.timers import Sweeper

if TYPE_CHECKING:
    import socket

    from gatewayd.config.load import LoadedConfig
    from gatewayd.process.board import Board
    from gatewayd.process.shared import SharedTable
    from gatewayd.registry import Plugins

logger = logging.getLogger("gatewayd.worker")


class Worker:
    """What serves: generations of the configuration, and the server that runs exchanges in them.

    Args:
        listener: Bound socket.
        plugins: The installed plugins.
        board: What one worker of the node tells the others; ``None`` where there is one worker.
        shared: What all of them read and write; ``None`` likewise.

    Attributes:
        started: Whether it serves.
        commands: What operators may ask of it.

    """

    def __init__(
        self,
        listener: socket.socket,
        plugins: Plugins,
        board: Board | None = None,
        shared: SharedTable | None = None,
    ) -> None:
        self._listener = listener
        self._sweeper = Sweeper()
        self._generations = Generations(plugins, self._sweeper, board, shared)
        self._server = Server(self._generations, self._sweeper)
        self.started = False
        self.commands = Commands(self._generations, self._server)
        self._state = StateMetrics(self._generations, self._server)
        self._watchdog: Watchdog | None = None
        self._stopping = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None

    async def start(self, loaded: LoadedConfig) -> None:
        """Build the first generation, then accept connections.

        Raises:
            GatewayError: the configuration cannot be used, or the address cannot be listened on.

        """
        check_certificates(loaded)
        await self._generations.adopt(loaded)
        try:
            await self._server.listen(self._listener, loaded.config.server.tls)
        except OSError as error:
            raise ListenError(f"cannot listen: {error}") from error
        logs.apply(loaded.config.logging)
        self._watch(loaded)
        self.started = True
        set_aside_what_stays()

    async def reload(self, loaded: LoadedConfig) -> None:
        """Take over another configuration, as a whole or not at all.

        Raises:
            GatewayError: it cannot be used; the running one goes on.

        """
        check_certificates(loaded)
        await self._generations.adopt(loaded)
        if loaded.config.server.tls is not None:
            self._server.reload_tls(loaded.config.server.tls)
        logs.apply(loaded.config.logging)
        self._watch(loaded)
        set_aside_what_stays()

    def _watch(self, loaded: LoadedConfig) -> None:
        seconds = loaded.config.logging.stall_seconds
        if self._watchdog is None:
            self._watchdog = Watchdog(self._generations.kept.metrics, seconds)
        self._watchdog.seconds = seconds

    @property
    def loaded(self) -> LoadedConfig:
        """The configuration that runs."""
        return self._generations.current.loaded

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` has been called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Let the exchanges end; called again, it changes nothing."""
        self._generations.start_draining()
        self._stopping.set()

    def break_off(self) -> None:
        """Break off the exchanges that have not ended since :meth:`stop`."""
        if self._draining is not None:
            self._draining.cancel()

    async def serve(self) -> None:
        """Serve until :meth:`stop`, and until the exchanges have ended after that."""
        await self._stopping.wait()
        timeout = self._generations.current.loaded.config.server.drain_timeout
        logger.info("stopping; exchanges have %g s to end", timeout)
        self._draining = asyncio.create_task(self._server.drain(timeout), name="drain")
        await asyncio.wait([self._draining])

    async def close(self) -> None:
        """Break off what is left, and close everything."""
        await self._server.close()
        if self._watchdog is not None:
            await self._watchdog.close()
        await self._generations.close()
        self._state.close()
        self._sweeper.close()


def set_aside_what_stays() -> None:
    """Have the garbage collector pass over all that lives as long as the configuration.

    A full collection looks at every object of libraries, routes and filters, and all exchanges wait
    meanwhile: with 200 routes some 60 ms, which was the time of the slowest per cent. What was set
    aside before is looked at first, so that an earlier generation does not stay for ever.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    # What building the configuration took, and gave back, goes back to the system; glibc keeps it.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def check_certificates(loaded: LoadedConfig) -> None:
    """Load the listener's certificates, only to see whether they can be.

    Raises:
        ConfigError: one cannot.

    """
    if loaded.config.server.tls is None:
        return
    try:
        TlsContext(loaded.config.server.tls)
    except ConfigError as error:
        raise ConfigError(locate(error.issues, loaded)) from error
