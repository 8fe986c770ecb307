"""The filter contract: the one class that a plugin author needs to know.

A filter is one stage of the pipeline. It is called with the exchange and with ``forward``, which
runs everything after it; what happens before ``await forward(exchange)`` is the request's way in,
what happens after it the response's way out::

    class Stopwatch(Filter[StopwatchConfig]):
        name = "stopwatch"
        Config = StopwatchConfig

        async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
            started = self.gateway.clock()
            response = await forward(exchange)
            elapsed = self.gateway.clock() - started
            response.headers.set(self.config.header, f"{elapsed:.6f}")
            return response

One instance serves all exchanges of the routes that share its settings, at the same time: state of
one exchange lives in local variables or on the exchange, never on ``self``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from pydantic import ConfigDict

from gatewayd.config.model import Checked
from gatewayd.exchange import Context, Exchange, Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd.gateway import Gateway

Forward: TypeAlias = Callable[[Exchange], Awaitable[Response]]
"""Runs the rest of the pipeline. May be awaited again, as ``retry`` does, or not at all."""


class FilterConfig(Checked):
    """Base of every filter's settings. Each field has a ``description``: it is the reference."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


ConfigT = TypeVar("ConfigT", bound=FilterConfig)


class Filter(Generic[ConfigT]):
    """One stage of the pipeline.

    Args:
        config: The filter's settings, merged from all layers and validated.
        gateway: What the host gives to filters: clock, log, routes, services, kept state.

    The constructor does no I/O; :meth:`start` does, and :meth:`close` undoes it.

    """

    name: ClassVar[str]
    """Entry-point name, module name and configuration key; all three are the same."""

    Config: ClassVar[type[FilterConfig]] = FilterConfig
    """Pydantic model of the settings."""

    requires: ClassVar[frozenset[Context]] = frozenset()
    """Attributes and keys of the exchange that filters before this one must have provided."""

    provides: ClassVar[frozenset[Context]] = frozenset()
    """Those that this filter sets before it forwards."""

    terminal: ClassVar[bool] = False
    """Whether it answers itself and never forwards. Exactly the last filter is terminal."""

    catches_errors: ClassVar[bool] = False
    """Whether ``forward`` gives this filter refusals as problem responses instead of raising them.
    For filters that observe or decorate every response, such as an access log."""

    reports: ClassVar[bool] = False
    """Whether all that it does is :meth:`report`. It is not called for each exchange then."""

    answers_preflight: ClassVar[bool] = False
    """Whether it answers CORS preflights itself; see :attr:`gatewayd.Exchange.preflight`."""

    route_keys: ClassVar[Mapping[str, Callable[[Any], Mapping[str, Any]]]] = {}
    """Shorthands: keys that a route may carry beside its own, each with a function from the value
    to this filter's settings. ``{"rate_limit": lambda value: {"rate": value}}``."""

    def __init__(self, config: ConfigT, gateway: Gateway) -> None:
        self.config = config
        self.gateway = gateway

    async def start(self) -> None:
        """Open what the filter needs. If it raises, the generation does not start."""

    async def close(self) -> None:
        """Undo :meth:`start`; called once, also after a ``start`` that was followed by failure."""

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """Handle one exchange; usually ``async def``.

        A filter that does nothing after the response may as well be a plain function that returns
        ``forward(exchange)``: one coroutine less for each exchange, which is 0.3 us.

        Raises:
            Reject: to refuse it; answered with a problem document.

        """
        if self.reports:
            return forward(exchange)
        raise NotImplementedError

    def report(self, exchanges: Sequence[Exchange]) -> None:
        """Hear of exchanges that have ended, many at once; for filters that ``reports``.

        In the place before ``route_match`` of all exchanges, behind it of those whose route and
        service have this filter. It must not block.
        """

    @property
    def does_nothing(self) -> bool:
        """Whether, with its settings, it forwards every exchange untouched.

        Such a filter is left out of the chains; it is started and closed all the same.
        """
        return False

    def __repr__(self) -> str:
        return f"<filter {self.name}>"
