"""What operators may ask of one worker: small functions, by name.

The supervisor asks them over the channel of each worker; a process that serves alone asks itself.
Arguments and results are what JSON can say.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

from gatewayd.admin.commands.explain import explain
from gatewayd.admin.commands.inspection import alive, ready, routes, services, status
from gatewayd.admin.commands.steering import drain, log_level, loggers, operate, operations
from gatewayd.admin.commands.telemetry import explained, metrics
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gatewayd.generation import Generations
    from gatewayd.server import Server

COMMANDS: Mapping[str, Callable[[Commands, Mapping[str, Any]], Awaitable[Any]]] = {
    "alive": alive,
    "drain": drain,
    "explain": explain,
    "explained": explained,
    "log_level": log_level,
    "loggers": loggers,
    "metrics": metrics,
    "operate": operate,
    "operations": operations,
    "ready": ready,
    "routes": routes,
    "services": services,
    "status": status,
}
"""Every command, by its name."""


class Commands:
    """The commands of one worker.

    Args:
        generations: Gives the running generation.
        server: Its listener.

    Attributes:
        generations, server: The same.
        started_at: When the worker started, in monotonic seconds.

    """

    def __init__(self, generations: Generations, server: Server) -> None:
        self.generations = generations
        self.server = server
        self.started_at = time.monotonic()

    async def run(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Run a command.

        Raises:
            GatewayError: there is none of that name, or it refuses its arguments.

        """
        command = COMMANDS.get(name)
        if command is None:
            raise GatewayError(f"there is no command {name!r}")
        return await command(self, arguments)


async def run_packed(commands: Commands, question: bytes) -> bytes:
    """Run the command that a message of the supervisor names; returns its packed result."""
    asked = orjson.loads(question)
    return orjson.dumps(await commands.run(asked["name"], asked["arguments"]), default=str)
