"""SIGHUP: load the configuration again, and let whoever runs it take it over or leave it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.config.load import LoadedConfig

logger = logging.getLogger("gatewayd.process")


async def reload_on(
    hangup: asyncio.Event,
    load: Callable[[], LoadedConfig],
    take: Callable[[LoadedConfig], Awaitable[None]],
) -> None:
    """Reload whenever ``hangup`` is set, until cancelled.

    Args:
        hangup: Set by the signal's handler; set again meanwhile, one more reload follows.
        load: Loads the configuration.
        take: Takes it over, as a whole or not at all; raises where it does not.

    """
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            # In a thread: thousands of routes take longer to load than an exchange should wait.
            loaded = await asyncio.to_thread(load)
            await take(loaded)
        except GatewayError as error:
            logger.error("reload refused, the running configuration stays:\n%s", error)  # noqa: TRY400  # the text says it all
        except Exception:
            logger.exception("reload failed, the running configuration stays")
        else:
            logger.info("reloaded, configuration %s is running", loaded.digest[:12])
