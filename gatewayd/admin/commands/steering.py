"""Commands that change something in a worker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd.admin.commands import Commands


async def drain(commands: Commands, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Take the worker out of service, or put it back; what comes all the same is served.

    Idle connections are closed, so that their clients look for another node.
    """
    wanted = bool(arguments["draining"])
    commands.generations.set_out_of_service(wanted)
    if wanted:
        commands.server.close_idle()
    return {"draining": commands.generations.current.gateway.readiness.draining}


async def loggers(_: Commands, __: Mapping[str, Any]) -> list[str]:
    """Tell the names of our loggers."""
    return our_loggers()


def our_loggers() -> list[str]:
    """Return the names of the loggers below ``gatewayd`` that this process has by now."""
    return sorted(name for name in logging.root.manager.loggerDict if name.startswith("gatewayd."))


async def log_level(_: Commands, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Change from which severity on a logger of ours writes, until the next reload."""
    name, level = str(arguments["logger"]), str(arguments["level"])
    logging.getLogger(name).setLevel(level.upper())
    return {"logger": name, "level": level}


async def operations(commands: Commands, _: Mapping[str, Any]) -> list[str]:
    """Tell the operations that filters offer."""
    return commands.generations.current.gateway.admin.names


async def operate(commands: Commands, arguments: Mapping[str, Any]) -> list[Any]:
    """Run an operation that filters offer."""
    admin = commands.generations.current.gateway.admin
    return await admin.run(str(arguments["name"]), arguments["arguments"])
