"""What the service manager is told of the gateway: sd_notify(3), without its library.

Only the process that was started speaks, and its socket's name leaves the environment at once, so
that no worker, and no program that a plugin starts, can speak for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

START_SECONDS = 90.0
"""Time for a start from when the configuration is loaded, whatever the unit's ``TimeoutStartSec``
says: a worker may take 60 s, and a store or an admin listener some more."""

_SEND_SECONDS = 0.5  # for a service manager that is busy; with one worker exchanges wait meanwhile

logger = logging.getLogger("gatewayd.process")


class Notifier:
    """Tells the service manager; silent where there is none.

    What cannot be told is logged once, and changes nothing else.

    Args:
        environ: The environment. ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are
            taken out of it.

    Attributes:
        watchdog_seconds: Within how many seconds the service manager wants each sign of life; 0
            where it wants none.

    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        name = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        microseconds = environ.pop("WATCHDOG_USEC", "")
        is_ours = environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        wanted = name and is_ours and microseconds.isdecimal()
        self.watchdog_seconds = int(microseconds) / 1e6 if wanted else 0.0
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False
        self._failed = False

    def starting(self) -> None:
        """Tell that a start goes on, and for how long it may."""
        self._send(f"EXTEND_TIMEOUT_USEC={START_SECONDS * 1e6:.0f}")

    def ready(self, status: str) -> None:
        """Tell that the node serves, after a start and after a reload, whatever became of it.

        Args:
            status: What an operator wants to know; one line, without secrets.

        """
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Tell that a reload begins; :meth:`ready` has to follow."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Tell that the node stops; nothing but signs of life is told after that."""
        self._tell("STOPPING=1", "STATUS=stopping, exchanges may end")
        self._stopping = True

    def watch(self, is_alive: Callable[[], bool]) -> None:
        """Begin to give signs of life, where they are wanted; only after :meth:`ready`.

        Args:
            is_alive: Whether to give one now.

        """
        if self.watchdog_seconds:
            self._watching = asyncio.create_task(self._watch(is_alive), name="signs of life")

    async def _watch(self, is_alive: Callable[[], bool]) -> None:
        while True:
            if is_alive():
                self._send("WATCHDOG=1", seconds=0)  # another one follows
            await asyncio.sleep(self.watchdog_seconds / 2)

    def close(self) -> None:
        """Give no more signs of life; for the end of the process."""
        if self._watching is not None:
            self._watching.cancel()

    def _tell(self, *lines: str) -> None:
        if not self._stopping:
            self._send(*lines)

    def _send(self, *lines: str, seconds: float = _SEND_SECONDS) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(seconds)
                # Connected, as otherwise nobody can wait until there is room in its queue.
                sender.connect(self._address)
                sender.send("\n".join(lines).encode())
        except OSError as error:
            if not self._failed:
                logger.warning("the service manager cannot be told %s: %s", lines[0], error)
            self._failed = True
