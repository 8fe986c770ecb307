"""The gateway inside the test's own event loop, where its tasks and generations can be seen.

It is what a worker process runs, without the process: see :mod:`gatewayd.process.worker`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gatewayd.config.load import load
from gatewayd.generation import Generations
from gatewayd.process.sockets import bind_listeners
from gatewayd.registry import Plugins
from gatewayd.server import Server
from gatewayd.timers import Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gatewayd.config.load import LoadedConfig
    from gatewayd.generation import Generation


class InProcessGateway:
    """The parts of a worker.

    Args:
        folder: Existing folder for the configuration.
        plugins: The plugins; the installed ones where absent.

    Attributes:
        sweeper: Watches deadlines; its length is the number of connections and tunnels.
        generations: Gives the running generation.
        server: The listener.
        port: The port that it listens on.

    """

    def __init__(self, folder: Path, plugins: Plugins | None = None) -> None:
        self._file = folder / "gateway.toml"
        self._plugins = plugins or Plugins()
        self.sweeper = Sweeper()
        self.generations = Generations(self._plugins, self.sweeper)
        self.server = Server(self.generations, self.sweeper)
        self.port = 0

    @property
    def url(self) -> str:
        """Base URL of the listener."""
        return f"http://127.0.0.1:{self.port}"

    async def adopt(self, config: str) -> Generation:
        """Take over a configuration, the first one or another; return its generation.

        Raises:
            GatewayError: it cannot be used.

        """
        return await self.generations.adopt(self._load(config))

    def _load(self, config: str) -> LoadedConfig:
        self._file.write_text(config)
        free = {"server.port": 0}
        return load(self._file, environ={}, overrides=free, plugins=self._plugins)

    async def listen(self) -> None:
        """Accept connections on a free port."""
        loaded = self.generations.current.loaded
        (listener,) = bind_listeners(loaded.config.server)
        await self.server.listen(listener, loaded.config.server.tls)
        self.port = listener.getsockname()[1]

    async def close(self) -> None:
        """Break off what still runs, and close everything."""
        await self.server.close()
        await self.generations.close()
        self.sweeper.close()


@asynccontextmanager
async def serving(
    config: str, folder: Path, plugins: Plugins | None = None
) -> AsyncIterator[InProcessGateway]:
    """Serve with this configuration on a free port.

    Args:
        config: Text of ``gateway.toml``.
        folder: Existing folder for it.
        plugins: The plugins; the installed ones where absent.

    """
    gateway = InProcessGateway(folder, plugins)
    try:
        await gateway.adopt(config)
        await gateway.listen()
        yield gateway
    finally:
        await gateway.close()
