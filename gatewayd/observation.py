"""Observation: what each filter did with one exchange, and which time was its own.

Every chain has a second, instrumented variant that an exchange takes if it carries
an :class:`Observation`; the others do not pay for it. An instrumented filter is driven step by
step: what passes between two suspensions occupies the event loop, so that it delays everybody, and
what passes in a suspension delays this exchange alone. Both are exclusive of the filters behind.

Who wants to observe an exchange sets ``exchange.observation``: before it is handed to the pipeline,
in a filter (the filters behind ``route_match`` are observed then), or by :meth:`Gateway.observe`,
whose functions are asked at the entry of every exchange and therefore have to be cheap.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from gatewayd.errors import Reject
from gatewayd.exchange import Exchange, Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from gatewayd.filter import Filter, Forward
    from gatewayd.timers import Clock

    AnyFilter = Filter[Any]
    Lines: TypeAlias = Sequence[tuple[bytes, bytes]]

Decision: TypeAlias = Literal["running", "forwarded", "answered", "refused", "failed", "cancelled"]

MAX_VISITS = 256
"""Visits that one observation records. Retries are bounded, and a chain has some twenty filters;
what a plugin does beyond that is only counted."""


class Visit:
    """One run of one filter.

    Attributes:
        filter: The filter.
        position: Its place among the filters of the exchange, from 0.
        entered_at: When it was entered, in seconds of the observation's clock.
        left_at: When it was left; ``None`` while it runs.
        loop_seconds: Time for which it occupied the event loop, without the filters behind it.
        wait_seconds: Time for which it waited for something else than the filters behind it.
        longest_step: The longest uninterrupted part of ``loop_seconds``.
        forwards: How often it forwarded.
        decision: ``forwarded`` (also where a refusal by a later filter went through it),
            ``answered`` without forwarding, ``refused``, ``failed`` by an error that is no refusal,
            or ``cancelled``.
        status: Status of its response or refusal, if there is one.
        code: Code of the refusal that left it, its own or a later filter's.
        reason: What its own refusal, or the error, says.
        instance: URL of the instance that was chosen when it was left; of detailed observations.

    """

    __slots__ = (
        "_from_behind", "_request", "_response", "code", "decision", "entered_at", "filter",
        "forwards", "instance", "left_at", "longest_step", "loop_seconds", "position", "reason",
        "status", "wait_seconds",
    )  # fmt: skip

    def __init__(self, filter: AnyFilter, position: int, entered_at: float) -> None:  # noqa: A002
        self.filter = filter
        self.position = position
        self.entered_at = entered_at
        self.left_at: float | None = None
        self.loop_seconds = 0.0
        self.wait_seconds = 0.0
        self.longest_step = 0.0
        self.forwards = 0
        self.decision: Decision = "running"
        self.status: int | None = None
        self.code: str | None = None
        self.reason = ""
        self.instance = ""
        self._request: list[Lines] = []  # before and after; of detailed observations
        self._response: list[Lines] = []
        self._from_behind: BaseException | None = None

    def returned(self, response: Response) -> None:
        """Take notice of its response."""
        self.decision = "forwarded" if self.forwards else "answered"
        self.status = response.status

    def raised(self, error: BaseException) -> None:
        """Take notice of how it ended without a response."""
        if isinstance(error, Reject):
            self.status, self.code = error.status, error.code
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self.decision = "cancelled"
        elif error is self._from_behind:
            self.decision = "forwarded"
        else:
            self.decision = "refused" if isinstance(error, Reject) else "failed"
            # Of an error that is no refusal only the kind: its text may hold what a client sent.
            self.reason = error.detail if isinstance(error, Reject) else type(error).__qualname__

    async def forward(self, exchange: Exchange, forward: Forward) -> Response:
        """Run the filters behind it."""
        self.forwards += 1
        if self._request:
            self._request[1:] = (tuple(exchange.request.headers.raw),)
        try:
            response = await forward(exchange)
        except BaseException as error:
            self._from_behind = error
            raise
        if self._request:
            self._response[:] = (tuple(response.headers.raw),)
        return response

    def begin_details(self, exchange: Exchange) -> None:
        """Remember the header fields that it finds."""
        self._request = [tuple(exchange.request.headers.raw)]

    def end_details(self, exchange: Exchange, response: Response | None) -> None:
        """Note what it has left, and which instance was chosen."""
        if exchange.instance is not None:
            self.instance = exchange.instance.url
        if response is not None and self._response:
            self._response.append(tuple(response.headers.raw))

    @property
    def request_changes(self) -> list[str]:
        """Names of request fields that it added (``+``), removed (``-``) or changed (``~``)."""
        return _changes(*self._request) if len(self._request) == 2 else []

    @property
    def response_changes(self) -> list[str]:
        """The same of the response."""
        return _changes(*self._response) if len(self._response) == 2 else []

    def __repr__(self) -> str:
        return f"<visit of {self.filter.name}: {self.decision}>"


class Observation:
    """What the filters did with one exchange.

    Args:
        clock: Returns seconds; fine enough for microseconds, unlike the gateway's.
        detailed: Whether header fields and instances are noted as well.

    Attributes:
        visits: The filters in the order in which they were entered.
        asked: The request as it came, of detailed observations.
        unrecorded: Visits beyond :data:`MAX_VISITS`.

    """

    __slots__ = ("_nested", "_open", "asked", "clock", "detailed", "unrecorded", "visits")

    def __init__(self, clock: Clock = perf_counter, *, detailed: bool = False) -> None:
        self.clock = clock
        self.detailed = detailed
        self.asked: Request | None = None
        self.visits: list[Visit] = []
        self.unrecorded = 0
        self._nested = 0.0  # loop time of the filters inside the step that runs now
        self._open: list[Visit] = []

    def visit(self, filter: AnyFilter, position: int) -> Visit | None:  # noqa: A002
        """Begin a visit; ``None`` where there have been too many."""
        if len(self.visits) >= MAX_VISITS:
            self.unrecorded += 1
            return None
        visit = Visit(filter, position, self.clock())
        self.visits.append(visit)
        self._open.append(visit)
        return visit

    def drive(
        self, visit: Visit, running: Generator[Any, Any, Response]
    ) -> Generator[Any, Any, Response]:
        """Run a filter to its end, step by step, and share its time out."""
        value: Any = None
        error: BaseException | None = None
        try:
            while True:
                try:
                    suspended = self._step(visit, running, value, error)
                except StopIteration as stop:
                    response: Response = stop.value
                    if not isinstance(response, Response):
                        raise TypeError(_no_response(visit, response)) from None
                    visit.returned(response)
                    return response
                since = self.clock()
                value = error = None
                try:
                    value = yield suspended
                except BaseException as thrown:  # belongs to the filter
                    error = thrown
                if self._is_innermost(visit):
                    visit.wait_seconds += self.clock() - since
        except BaseException as failure:
            visit.raised(failure)
            raise
        finally:
            visit.left_at = self.clock()
            self._open.remove(visit)

    def _step(
        self,
        visit: Visit,
        running: Generator[Any, Any, Response],
        value: Any,
        error: BaseException | None,
    ) -> Any:
        """Let it run until it suspends. Steps of the filters behind it run inside of this one."""
        outside, self._nested = self._nested, 0.0
        started = self.clock()
        try:
            return running.send(value) if error is None else running.throw(error)
        finally:
            elapsed = self.clock() - started
            own = elapsed - self._nested
            visit.loop_seconds += own
            visit.longest_step = max(visit.longest_step, own)
            self._nested = outside + elapsed

    def _is_innermost(self, visit: Visit) -> bool:
        """Whether no filter behind it is running, whose wait this would be."""
        return all(other.position <= visit.position for other in self._open)

    def __repr__(self) -> str:
        return f"<observation of {len(self.visits)} visits>"


def _changes(before: Lines, after: Lines) -> list[str]:
    """Return the names of fields that differ, each with a sign for how."""
    old, new = _by_name(before), _by_name(after)
    added = [f"+{name}" for name in new if name not in old]
    removed = [f"-{name}" for name in old if name not in new]
    changed = [f"~{name}" for name in new if name in old and old[name] != new[name]]
    return added + removed + changed


def _by_name(lines: Lines) -> dict[str, list[bytes]]:
    named: dict[str, list[bytes]] = {}
    for name, value in lines:
        named.setdefault(name.decode("latin-1").lower(), []).append(value)
    return named


def _no_response(visit: Visit, value: object) -> str:
    return f"filter {visit.filter.name!r} returned {value!r}, which is no Response"


class _Driven:
    """What an observed filter's call gives to be awaited."""

    __slots__ = ("_observation", "_running", "_visit")

    def __init__(self, observation: Observation, visit: Visit, call: Awaitable[Response]) -> None:
        self._observation = observation
        self._visit = visit
        self._running = call.__await__()

    def __await__(self) -> Generator[Any, Any, Response]:
        return self._observation.drive(self._visit, self._running)


def _copy_of(request: Request) -> Request:
    return Request(
        request.method, request.path, request.query, request.host, headers=request.headers.copy()
    )


async def _run_detailed(
    observation: Observation, visit: Visit, exchange: Exchange, call: Awaitable[Response]
) -> Response:
    visit.begin_details(exchange)
    response = None
    try:
        response = await _Driven(observation, visit, call)
        return response
    finally:
        visit.end_details(exchange, response)


def observed(one: AnyFilter, position: int, forward: Forward) -> Forward:
    """Return the instrumented call of a filter, for exchanges that carry an observation."""
    call: Callable[[Exchange, Forward], Awaitable[Response]] = one.__call__

    async def step(exchange: Exchange) -> Response:
        observation = cast("Observation", exchange.observation)
        visit = observation.visit(one, position)
        if visit is None:
            return await call(exchange, forward)

        async def forward_noting(again: Exchange) -> Response:
            return await visit.forward(again, forward)

        async def run() -> Response:
            return await call(exchange, forward_noting)  # one that is no coroutine counts, too

        if observation.detailed:
            if observation.asked is None:
                observation.asked = _copy_of(exchange.request)
            return await _run_detailed(observation, visit, exchange, run())
        return await _Driven(observation, visit, run())

    return step
