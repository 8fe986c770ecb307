"""A worker process as its supervisor sees it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import orjson

from gatewayd.errors import GatewayError
from gatewayd.process.calls import Caller, CallFailed, Faulty, Kind, Overdue, Refused
from gatewayd.process.channel import Channel

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping


ANSWER_SECONDS = 60.0
"""How long a worker may take to start with a configuration, or to take one over."""

LOOK_SECONDS = 5.0
"""How often a worker is asked whether it still answers."""

BREAK_OFF = signal.SIGUSR1
"""Has a worker that ends break off its exchanges. No second SIGTERM: service managers send one to
all processes of a service, beside the one that the supervisor sends."""

LOOKS = 6
"""How many such questions in a row it may leave without any answer: for 30 s, as gunicorn's workers
may (its ``timeout``)."""

_incarnations = itertools.count()


class ChildFailed(GatewayError):  # noqa: N818  # an event that is reported, and then dealt with
    """A worker does not take a configuration, or has ended; says why."""


class Child:
    """A worker process.

    Args:
        process: The process.
        channel: Our end of the channel to it.

    Attributes:
        incarnation: Higher than that of any worker before it.
        told_to_end: Whether :meth:`terminate` has been called.
        serving: Whether it has taken its first configuration; it answers no question before.
        unanswered: How many questions in a row it has left without any answer.

    """

    def __init__(self, process: Process, channel: Channel) -> None:
        self._process = process
        self._caller = Caller(channel, f"worker with pid {process.pid}")
        self.incarnation = next(_incarnations)
        self.told_to_end = False
        self.serving = False
        self.unanswered = 0
        self._taking = False

    @classmethod
    async def spawn(cls, listener: socket.socket, board: IO[bytes], shared: IO[bytes]) -> Child:
        """Start a worker, which then waits for its configuration.

        Args:
            listener: The bound socket that it is to listen on.
            board: The file of what one worker tells the others.
            shared: The file of what all workers read and write.

        Raises:
            ChildFailed: the system does not start processes now.

        """
        ours, theirs = socket.socketpair()
        passed = (listener.fileno(), theirs.fileno(), board.fileno(), shared.fileno())
        # -P: what lies in the working directory must not be imported in the place of a library.
        command = [sys.executable, "-P", "-m", "gatewayd", "worker"]
        names = ("--listener", "--channel", "--board", "--shared")
        for name, number in zip(names, passed, strict=True):
            command += [name, str(number)]
        # Inherited: a SIGHUP that all processes of the node get must not end a worker that cannot
        # ignore it yet. For us, it is held back meanwhile.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=passed,
                # Ctrl-C in a terminal is for the supervisor, which tells the workers once.
                process_group=0,
            )
            return cls(process, await Channel.over(ours))
        except BaseException as error:
            ours.close()  # which ends the worker, if there is one by now
            if isinstance(error, OSError):
                raise ChildFailed(f"no process can be started: {error}") from error
            raise
        finally:
            # By name, and not as it was: several are started side by side.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._process.returncode is None

    @property
    def answers(self) -> bool:
        """Whether it serves, and has answered one of the last two questions."""
        return self.serving and self.unanswered < 2

    async def take(self, packed: bytes) -> None:
        """Give it a configuration to run.

        Raises:
            ChildFailed: it refuses, has ended, or does not answer; it is killed in the last case.

        """
        self._taking = True
        try:
            await self._caller.call(Kind.CONFIGURATION, packed, ANSWER_SECONDS)
        except Overdue as failure:
            self.kill()
            raise ChildFailed(str(failure)) from None
        except CallFailed as failure:
            raise ChildFailed(str(failure)) from None
        except TimeoutError:
            self.kill()
            message = f"worker with pid {self.pid} did not answer in {ANSWER_SECONDS:g} s"
            raise ChildFailed(message) from None
        finally:
            self._taking = False
        self.serving = True

    async def fall_silent(self) -> None:
        """Ask it again and again whether it still answers; return when it has not for too long.

        Questions without an answer are counted, and not seconds: where this process, or all of
        them, stood still for an hour, one question was open. A late answer counts as any other;
        one that takes over a configuration has the time of :meth:`take`.
        """
        loop = asyncio.get_running_loop()
        while self.unanswered < LOOKS:
            heard, next_look = self._caller.heard, loop.time() + LOOK_SECONDS
            with suppress(GatewayError):  # what counts is whether anything was heard
                await self.ask("alive", {}, LOOK_SECONDS)
            await asyncio.sleep(next_look - loop.time())
            alive = self._taking or self._caller.heard > heard
            self.unanswered = 0 if alive else self.unanswered + 1

    async def ask(self, name: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Have it run a command of :mod:`gatewayd.admin.commands`, and return the result.

        Raises:
            Refused: the command refuses its arguments.
            Faulty: the command has failed at them.
            ChildFailed: it has ended, or does not answer in time.

        """
        question = orjson.dumps({"name": name, "arguments": arguments})
        try:
            return orjson.loads(await self._caller.call(Kind.QUESTION, question, seconds))
        except (Refused, Faulty):
            raise
        except CallFailed as failure:
            raise ChildFailed(str(failure)) from None
        except TimeoutError:
            message = f"worker with pid {self.pid} did not answer in {seconds:g} s"
            raise ChildFailed(message) from None

    def terminate(self) -> None:
        """Tell it to let its exchanges end."""
        self.told_to_end = True
        self._signal(signal.SIGTERM)

    def break_off(self) -> None:
        """Tell it to break off the exchanges that have not ended since :meth:`terminate`."""
        self._signal(BREAK_OFF)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Not Process.send_signal: it looks for the end of the process, and then the one who waits
        # for that end does not learn how it came.
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self) -> str:
        """Wait for its end; return how it ended, for the log."""
        status = await self._process.wait()
        await self._caller.close()
        return f"exit status {status}" if status >= 0 else _name_of_signal(-status)


def _name_of_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of the real-time signals have none
        return f"signal {number}"
