"""Chains: filters linked into one call.

``forward`` of the first filter calls the second, and so on, about 0.2 us for each level. Each chain
has an instrumented variant for the exchanges that somebody observes, see
:mod:`gatewayd.observation`; it is linked when the first of them comes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from gatewayd.errors import INTERNAL, GatewayError, Reject, forget_frames, problem_response
from gatewayd.observation import observed
from gatewayd.telemetry.tracing import get_trace_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gatewayd.ended import Reporter
    from gatewayd.exchange import Exchange, Response
    from gatewayd.filter import Filter, Forward
    from gatewayd.layers import Settings

    AnyFilter = Filter[Any]

logger = logging.getLogger("gatewayd.pipeline")

_PARAMETERS = 3
"""Of a filter's ``__call__``: itself, the exchange, and ``forward``."""


@dataclass(frozen=True, slots=True)
class Step:
    """One filter of a chain, with the settings that it got and where each came from."""

    filter: AnyFilter
    settings: Settings


@dataclass(frozen=True)
class Observed:
    """The instrumented variant of a chain, linked on first use.

    Attributes:
        filters: The filters in order.
        end: What follows the last one.
        offset: Filters of the exchange before the first one.
        reporters: Who is to be told of the exchanges of this chain; none where all are told of.

    """

    filters: Sequence[AnyFilter]
    end: Forward
    offset: int
    reporters: tuple[Reporter, ...]

    @cached_property
    def forward(self) -> Forward:
        """Runs the filters."""
        return self._link(self.filters, self.end)

    @cached_property
    def preflight(self) -> Forward:
        """Runs them as far as the one that answers CORS preflights."""
        return self._link(_as_far_as_preflight(self.filters), _refuse_preflight)

    def _link(self, filters: Sequence[AnyFilter], end: Forward) -> Forward:
        return _noting(_link_observed(filters, end, self.offset), self.reporters)


@dataclass(frozen=True, slots=True)
class Chain:
    """The filters of one route (or those before any route) and the call that runs them.

    Attributes:
        steps: The filters in order.
        forward: Runs them.
        preflight: Runs them as far as the one that answers CORS preflights.
        observed: The same for exchanges that are observed.

    """

    steps: tuple[Step, ...]
    forward: Forward
    preflight: Forward
    observed: Observed = field(repr=False)

    @classmethod
    def of(
        cls, steps: tuple[Step, ...], end: Forward, offset: int, reporters: tuple[Reporter, ...]
    ) -> Chain:
        """Link filters.

        Args:
            steps: The filters in order.
            end: What follows the last one.
            offset: Filters of the exchange before the first one.
            reporters: Who is to be told of the exchanges of this chain; none where all are told of.

        """
        filters = [step.filter for step in steps]
        active = [one for one in filters if not (one.does_nothing or one.reports)]
        forward = link(active, end)
        preflight = link(_as_far_as_preflight(filters), _refuse_preflight)
        return cls(
            steps,
            _noting(forward, reporters),
            _noting(preflight, reporters),
            Observed(filters, end, offset, reporters),
        )


def link(filters: Sequence[AnyFilter], end: Forward) -> Forward:
    """Chain filters into one call that ends with ``end``."""
    forward = end
    for one in reversed(filters):
        forward = _step(one.__call__, _catch(forward) if one.catches_errors else forward)
    return forward


def _step(call: Callable[[Exchange, Forward], Any], forward: Forward) -> Forward:
    """Return a filter's call with its second argument given.

    A lambda around it is a frame more for each filter, a sixteenth of what all of them take. So the
    filter gets a method with the code of its own, whose last parameter is ``forward`` by default;
    what is no method of two parameters gets the lambda.
    """
    function = getattr(call, "__func__", None)
    if not (isinstance(function, FunctionType) and function.__code__.co_argcount == _PARAMETERS):
        return lambda exchange: call(exchange, forward)
    code, closure = function.__code__, function.__closure__
    own = FunctionType(code, function.__globals__, function.__name__, (forward,), closure)
    own.__kwdefaults__ = function.__kwdefaults__
    return MethodType(own, call.__self__)  # type: ignore[attr-defined]  # it is a method


def _noting(forward: Forward, reporters: tuple[Reporter, ...]) -> Forward:
    """Note who is to be told of the exchanges of this chain."""
    if not reporters:
        return forward

    def noted(exchange: Exchange) -> Awaitable[Response]:
        exchange.reporters += reporters
        return forward(exchange)

    return noted


def _catch(forward: Forward) -> Forward:
    async def caught(exchange: Exchange) -> Response:
        try:
            return await forward(exchange)
        except Exception as error:
            return respond_to(error, exchange)

    return caught


def respond_to(error: BaseException, exchange: Exchange) -> Response:
    """Turn what a filter raised into a response; what is no refusal is our fault, and logged."""
    if isinstance(error, Reject):
        try:
            exchange.refusal = error
            response = problem_response(error, exchange.id, get_trace_id(exchange))
            forget_frames(error)
            return response  # noqa: TRY300  # what is below is for what cannot be sent
        except (TypeError, ValueError) as unsendable:  # its text or a field, made from bad input
            error = unsendable
    logger.error(
        "exchange %s failed: %s %s", exchange.id, exchange.request.method, exchange.request.path,
        exc_info=error,
    )  # fmt: skip
    exchange.refusal = INTERNAL
    return problem_response(INTERNAL, exchange.id, get_trace_id(exchange))


def _link_observed(filters: Sequence[AnyFilter], end: Forward, offset: int) -> Forward:
    """Chain filters as :func:`link` does, each with what notes its decision and its time."""
    forward = end
    for index, one in reversed(tuple(enumerate(filters))):
        forward = observed(one, offset + index, _catch(forward) if one.catches_errors else forward)
    return forward


def _as_far_as_preflight(filters: Sequence[AnyFilter]) -> Sequence[AnyFilter]:
    """Return the filters up to the one that answers preflights; behind it, and without it, 405."""
    answering = [i for i, one in enumerate(filters) if one.answers_preflight]
    return filters[: answering[0] + 1] if answering else ()


async def _refuse_preflight(exchange: Exchange) -> Response:
    route = exchange.route
    allowed = ", ".join(sorted((route and route.methods) or ()))
    raise Reject(
        405, "method_not_allowed", "The route does not take this method.", [("Allow", allowed)]
    )


async def end_of_pipeline(exchange: Exchange) -> Response:
    """Be the end of a chain whose last filter is terminal: nobody comes here."""
    raise GatewayError(f"{exchange!r} reached the end of the pipeline; a terminal filter forwarded")
