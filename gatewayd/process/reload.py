"""SIGHUP: load the configuration again, and let whoever runs it take it over or leave it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gatewayd.audit import AuditEvent
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.config.load import LoadedConfig

logger = logging.getLogger("gatewayd.process")


async def reload_on(
    hangup: asyncio.Event,
    load: Callable[[], LoadedConfig],
    take: Callable[[LoadedConfig], Awaitable[None]],
    audit: Callable[[AuditEvent], Awaitable[None]],
) -> None:
    """Reload whenever ``hangup`` is set, until cancelled.

    Args:
        hangup: Set by the signal's handler; set again meanwhile, one more reload follows.
        load: Loads the configuration.
        take: Takes it over, as a whole or not at all; raises where it does not.
        audit: Records what has become of it.

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
            event = AuditEvent("reload", "failure", reason=str(error))
        except Exception as error:
            logger.exception("reload failed, the running configuration stays")
            event = AuditEvent("reload", "failure", reason=repr(error))
        else:
            logger.info("reloaded, configuration %s is running", loaded.digest[:12])
            event = AuditEvent("reload", "success", detail={"digest": loaded.digest})
        await audit(event)
