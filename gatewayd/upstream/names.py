"""Addresses of instances that have names: asked of the system, in threads for nothing else.

``getaddrinfo`` blocks for as long as name servers are silent, and nothing breaks it off. The event
loop's own has four threads for everybody: a few requests to one name that hangs would keep all
other names from being found. So here a name is asked for once, whoever waits for it, in a thread of
its own. What the system knows (hosts file, search domains, order of addresses) counts as for any
program.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_THREADS = 16
"""Names that are asked for at the same time; others wait until one of them is answered."""

_Outcome: TypeAlias = "Sequence[str] | Exception"


class Names:
    """Finds the addresses of names; for the connections of one event loop.

    A thread lives as long as its question. One that hangs outlives :meth:`close` and does not keep
    the process from ending.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[str, set[asyncio.Future[_Outcome]]] = {}
        self._queue: deque[str] = deque()  # names for which there is no thread yet
        self._threads = 0
        self._closed = False

    async def addresses(self, name: str) -> Sequence[str]:
        """Return the addresses of a name, the one to prefer first.

        Whoever gives up waiting leaves the question to the others that wait for the name.

        Raises:
            OSError: the name has no address, or cannot be asked for.
            UnicodeError: it is none that DNS can have.

        """
        if self._closed:
            raise OSError("names are not asked for any more")
        waiter: asyncio.Future[_Outcome] = self._loop.create_future()
        waiters = self._waiters.get(name)
        if waiters is None:
            waiters = self._waiters[name] = set()
            self._queue.append(name)
        waiters.add(waiter)
        self._start_threads()
        try:
            outcome = await waiter
        finally:
            waiters.discard(waiter)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """Ask no more, and tell whoever waits."""
        self._closed = True
        self._queue.clear()
        for name in list(self._waiters):
            self._answer(name, OSError("names are not asked for any more"))

    def _start_threads(self) -> None:
        while self._queue and self._threads < MOST_THREADS:
            name = self._queue.popleft()
            if not self._waiters[name]:  # they have given up
                del self._waiters[name]
                continue
            thread = Thread(target=self._ask, args=(name,), name="gatewayd-names", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has none to give
                self._answer(name, OSError(str(error)))
            else:
                self._threads += 1

    def _ask(self, name: str) -> None:
        """Ask for one name, in a thread."""
        outcome: _Outcome
        try:
            outcome = _look_up(name)
        except Exception as error:  # raised to whoever waits
            outcome = error
        with suppress(RuntimeError):  # the loop has been closed, and nobody waits
            self._loop.call_soon_threadsafe(self._end_thread, name, outcome)

    def _end_thread(self, name: str, outcome: _Outcome) -> None:
        self._threads -= 1
        self._answer(name, outcome)
        self._start_threads()

    def _answer(self, name: str, outcome: _Outcome) -> None:
        for waiter in self._waiters.pop(name, ()):
            if not waiter.done():
                waiter.set_result(outcome)

    def __repr__(self) -> str:
        return f"<names: {self._threads} asked for, {len(self._queue)} waiting>"


def _look_up(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_text(address) for *_, address in found))


def _text(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """Return an address as connecting takes it: link-local ones say of which link."""
    host = str(address[0])
    scope = address[3] if len(address) == 4 else 0
    return f"{host}%{scope}" if scope else host
