"""The supervisor: starts the workers, starts another one where one crashed, and ends them.

It serves nothing itself. Every worker gets one of the listening sockets and the configuration that
runs, which the supervisor alone loads. On SIGHUP the workers take a new configuration over one
after the other; if one cannot, those before it go back, so that all of them run the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from gatewayd.admin import make_admin_server
from gatewayd.audit import record_now
from gatewayd.process import logs
from gatewayd.process.board import make_board_file
from gatewayd.process.calls import Faulty, Refused
from gatewayd.process.channel import pack
from gatewayd.process.child import LOOK_SECONDS, LOOKS, Child, ChildFailed
from gatewayd.process.node import Answer
from gatewayd.process.reload import Reloader, ignore_hangups, keep_stored
from gatewayd.process.shared import make_shared_file
from gatewayd.process.sockets import url_of
from gatewayd.telemetry.metrics import Metrics

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gatewayd.admin.listener import AdminServer
    from gatewayd.audit import AuditEvent
    from gatewayd.config.load import LoadedConfig
    from gatewayd.process.notify import Notifier

# The first pause is short, as most crashes are single ones. The longest one is not much longer:
# connections wait meanwhile in the backlog of the socket that has no worker.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
# A worker that has run for so long has not crashed because of how it was started.
_STABLE_SECONDS = 30.0
# Beyond the drain timeout, for closing what a worker keeps.
_GRACE_SECONDS = 5.0
# For what a fresh worker is told once more; it has nothing else to do.
_LASTING_SECONDS = 5.0

logger = logging.getLogger("gatewayd.process")


class Supervisor:
    """The parent of all workers.

    Args:
        loaded: The first configuration.
        load: Loads it again.
        listeners: Bound sockets, one for each worker.
        notifier: Tells the service manager.

    Attributes:
        metrics: What the node itself counts, beside its workers.

    """

    def __init__(
        self,
        loaded: LoadedConfig,
        load: Callable[[], LoadedConfig],
        listeners: Sequence[socket.socket],
        notifier: Notifier,
    ) -> None:
        self._loaded = loaded
        self._packed = pack(loaded)
        self.metrics = Metrics()
        self._restarts = self.metrics.counter(
            "gatewayd_worker_restarts", "Workers that were started because one had ended."
        ).labels()
        self._notifier = notifier
        self._reloader = Reloader(load, self._hand_round, self.audit, self.metrics, notifier)
        self._lasting: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._listeners = listeners
        self._children: dict[int, Child] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._admin: AdminServer | None = None
        self._board: IO[bytes]  # open while run() runs
        self._shared: IO[bytes]
        self._stopping = asyncio.Event()
        self._changing = asyncio.Lock()  # held while a worker starts or a reload goes round

    async def run(self) -> None:
        """Run the workers until SIGTERM or SIGINT; a second one breaks off their exchanges.

        Raises:
            GatewayError: the workers cannot be started.

        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        hangup = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # held back by `gatewayd serve`
        async with AsyncExitStack() as stack:  # in the end undone from the last to the first
            stack.callback(ignore_hangups)
            stack.callback(self._notifier.close)
            self._board = stack.enter_context(make_board_file())
            self._shared = stack.enter_context(make_shared_file(len(self._listeners)))
            stack.push_async_callback(self._end_all)
            stack.push_async_callback(self._leave_alone)
            self._admin = make_admin_server(self)
            self._notifier.starting()
            if self._admin is not None:
                stack.push_async_callback(self._admin.close)
            await self._start_all()
            self._tasks = [asyncio.create_task(self._keep(number)) for number in self._children]
            if self._admin is not None:
                await self._admin.serve()
            url, digest = self._url, self._loaded.digest[:12]
            self._notifier.ready(f"listening on {url}, configuration {digest} is running")
            self._notifier.watch(self._is_alive)
            self._tasks.append(asyncio.create_task(self._reloader.reload_on(hangup)))
            await self._stopping.wait()

    @property
    def _url(self) -> str:
        return url_of(self._listeners[0], tls=self._loaded.config.server.tls is not None)

    def _is_alive(self) -> bool:
        """Whether the node serves: one worker that stands still is replaced, and the others go on.

        Where none answers for longer than it takes to replace it, a new supervisor may do better.
        """
        return any(child.answers for child in self._running())

    async def _leave_alone(self) -> None:
        """Start no worker any more, and change none."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reloader.close()

    async def _start_all(self) -> None:
        numbers = range(len(self._listeners))
        results = await asyncio.gather(
            *(self._start(number, self._packed) for number in numbers), return_exceptions=True
        )
        if self._stopping.is_set():
            return
        for failure in filter(None, results):
            raise failure
        await keep_stored(self._loaded)
        logger.info("listening on %s (pid %d, workers %d)", self._url, os.getpid(), len(numbers))

    async def _start(self, number: int, packed: bytes) -> None:
        child = await Child.spawn(self._listeners[number], self._board, self._shared)
        self._children[number] = child
        try:
            await child.take(packed)
        except ChildFailed:
            raise
        except BaseException:
            child.kill()  # it would wait for its configuration for ever
            raise
        await self._tell_lasting(number, child)

    async def _tell_lasting(self, number: int, child: Child) -> None:
        """Tell a worker what operators have told the others; they may tell more meanwhile."""
        for word in list(self._lasting):
            name, arguments = self._lasting[word]
            answer = await self._ask_one(number, child, name, arguments, _LASTING_SECONDS)
            if answer.error:
                logger.warning("worker %d was not told %s: %s", number, word, answer.error)

    async def _keep(self, number: int) -> None:
        """Wait for the end of a worker, start another one, and so on until the node stops."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                pause = await self._replace(number, pause)
            except Exception:
                # Whatever it was: if this ended, no worker would follow ever again.
                logger.exception("worker %d could not be looked after", number)
                await asyncio.sleep(_LONGEST_PAUSE)

    async def _replace(self, number: int, pause: float) -> float:
        """Wait for the end of a worker, and start another one unless the node stops.

        Args:
            number: Its number.
            pause: Seconds before the start of the next one, if this one has not run for long.

        Returns:
            The pause for the next one.

        """
        loop = asyncio.get_running_loop()
        since = loop.time()
        child = self._children[number]
        ending = await self._ended(number, child)
        if self._admin is not None:
            self._admin.worker_ended(number, child.incarnation)
        if self._stopping.is_set():
            return pause
        if loop.time() - since >= _STABLE_SECONDS:
            pause = _FIRST_PAUSE
        logger.error("worker %d ended (%s), another one follows", number, ending)
        await asyncio.sleep(pause)
        async with self._changing:
            if self._children[number] is not child:
                return _FIRST_PAUSE  # a reload has started one meanwhile
            try:
                await self._start(number, self._packed)
            except ChildFailed as failure:
                logger.error("worker %d does not start: %s", number, failure)  # noqa: TRY400
            else:
                self._restarts.value += 1
                pid = self._children[number].pid
                logger.info("worker %d runs again (pid %d)", number, pid)
        return min(pause * 2, _LONGEST_PAUSE)

    async def _ended(self, number: int, child: Child) -> str:
        """Wait for the end of a worker, and bring it about where it answers nothing any more."""
        watching = asyncio.create_task(self._watch(number, child), name=f"watch worker {number}")
        try:
            return await child.ended()
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self, number: int, child: Child) -> None:
        if child.serving:  # else it does not start, and ends
            await child.fall_silent()
            text = "worker %d (pid %d) has answered nothing for %g s, killing it"
            logger.error(text, number, child.pid, LOOKS * LOOK_SECONDS)
            child.kill()

    async def _hand_round(self, loaded: LoadedConfig) -> None:
        """Give a configuration to all workers.

        Raises:
            ChildFailed: one of them did not take it; all of them have the old one.

        """
        packed = pack(loaded)
        taken: list[Child] = []
        async with self._changing:
            if self._stopping.is_set():
                raise ChildFailed("the node is stopping")
            for child in self._running():
                if not child.serving:
                    continue  # it has refused the old one, and ends
                try:
                    await child.take(packed)
                except BaseException as error:
                    # Nobody knows what it runs where it was not its own answer that ended this.
                    asked = taken if isinstance(error, ChildFailed) else [*taken, child]
                    await self._take_back(asked)
                    raise
                taken.append(child)
            if not taken:
                await self._try_out(packed)
            self._loaded, self._packed = loaded, packed
            for word in [word for word, (name, _) in self._lasting.items() if name == "log_level"]:
                del self._lasting[word]  # as in the workers, and here in the next line
            logs.apply(loaded.config.logging)

    async def _try_out(self, packed: bytes) -> None:
        """Start a worker with a configuration that none could take over, as none serves.

        Raises:
            ChildFailed: it does not start.

        """
        number = min(self._children)
        try:
            await self._start(number, packed)
        except ChildFailed:
            self._children[number].kill()  # another one follows, with what ran before
            raise
        self._restarts.value += 1

    async def _take_back(self, children: Iterable[Child]) -> None:
        numbers = {child: number for number, child in self._children.items()}
        for child in children:
            if child.told_to_end:
                continue
            try:
                await child.take(self._packed)
            except ChildFailed as failure:
                logger.error("a worker is replaced: %s", failure)  # noqa: TRY400
                child.terminate()
            else:
                await self._tell_lasting(numbers[child], child)

    @property
    def loaded(self) -> LoadedConfig:
        """See :class:`gatewayd.process.node.Node`, as for what follows."""
        return self._loaded

    async def ask(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        seconds: float,
        lasting: str = "",
        one: bool = False,
    ) -> list[Answer]:
        """Run a command in all workers, side by side, or in the first one that serves."""
        if lasting:
            self._lasting[lasting] = name, arguments
        asked = sorted(self._children.items())
        if one:
            asked = [item for item in asked if item[1].running and item[1].serving][:1] or asked[:1]
        return await asyncio.gather(
            *(self._ask_one(number, child, name, arguments, seconds) for number, child in asked)
        )

    async def _ask_one(
        self, number: int, child: Child, name: str, arguments: Mapping[str, Any], seconds: float
    ) -> Answer:
        if not (child.running and child.serving):
            return Answer(number, 0, error="the worker is being started")
        answer = partial(Answer, number, child.pid, child.incarnation)
        try:
            return answer(await child.ask(name, arguments, seconds))
        except Refused as refusal:
            return answer(error=str(refusal), refused=True)
        except Faulty as fault:
            return answer(error=str(fault), faulty=True)
        except ChildFailed as failure:
            return answer(error=str(failure))

    async def reload(self) -> LoadedConfig:
        """Load the configuration again and have all workers take it over."""
        return await self._reloader.reload()

    async def audit(self, event: AuditEvent) -> None:
        """Record what an operator has done."""
        await record_now(self._loaded.config, event, self.metrics)

    def _running(self) -> list[Child]:
        return [child for child in self._children.values() if child.running]

    def _stop(self) -> None:
        if self._stopping.is_set():
            for child in self._running():
                child.break_off()
            return
        self._notifier.stopping()
        self._stopping.set()
        for child in self._running():
            child.terminate()

    async def _end_all(self) -> None:
        for listener in self._listeners:
            listener.close()
        running = self._running()
        for child in running:
            if not child.told_to_end:
                child.terminate()
        if not running:
            return
        timeout = self._loaded.config.server.drain_timeout + _GRACE_SECONDS
        endings = {asyncio.create_task(child.ended()): child for child in running}
        _, late = await asyncio.wait(endings, timeout=timeout)
        for ending in late:
            logger.error(
                "worker with pid %d has not ended in time, killing it", endings[ending].pid
            )
            endings[ending].kill()
        await asyncio.gather(*endings)
