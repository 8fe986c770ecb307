"""What commands do about a change that they have made: who made it, and whom it is told."""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING, Any

from gatewayd.audit import AuditEvent, record_now

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatewayd.config.schema import GatewayConfig


def operator() -> str:
    """Return who runs the command, for the audit trail; never fails.

    A container may run as a user that has no name: then it is the number.
    """
    try:
        name = getpass.getuser()
    except (ImportError, KeyError, OSError):  # OSError since Python 3.13
        name = f"uid {os.getuid()}"
    return f"{name} (command line)"


async def record_change(config: GatewayConfig, action: str, actor: str, **detail: Any) -> None:
    """Write a change into the audit trail; that it cannot be written is told and no error.

    Args:
        config: The configuration, for the settings of trail and store.
        action: What was done, such as ``key.rotate``.
        actor: Who did it; see :func:`operator`.
        detail: Further facts of the event.

    """
    event = AuditEvent(action, "success", actor=actor, detail=detail)
    await afterwards(record_now(config, event), "the audit trail cannot be written")


async def afterwards(work: Awaitable[object], failure: str) -> None:
    """Do what follows a change. The change is made: what fails is a warning on standard error.

    Args:
        work: What is to be done.
        failure: What is told where it fails, with the reason behind it.

    """
    try:
        await work
    except Exception as error:  # whatever a library raises: the change is made already
        print(f"warning: {failure}: {str(error) or repr(error)}", file=sys.stderr)
