"""The pipeline: an ordered list of filters, compiled once per route into a chain of calls.

The order is the order of the configuration. It is checked, never changed: whatever a filter
``requires`` must be provided by one before it, and the last one must be terminal. The filter that
provides the route splits the list: those before it run for every request with the gateway's
settings, those after it are compiled for every pair of route and service with the settings of all
three layers (see :mod:`gatewayd.layers`).

``forward`` of the first filter calls the second, and so on, about 0.2 us for each level. Filters
with equal settings are one object, and routes with the same filters share one chain, so ten
thousand routes cost no more than their rules.

Each chain has an instrumented variant for the exchanges that somebody observes, see
:mod:`gatewayd.observation`; it is linked when the first of them comes.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from gatewayd.cancellation import is_cancelled
from gatewayd.config.places import dotted
from gatewayd.declarations import faults_of
from gatewayd.errors import (
    INTERNAL,
    ConfigError,
    ConfigIssue,
    GatewayError,
    Reject,
    forget_frames,
    problem_response,
)
from gatewayd.exchange import Exchange, Response, name_of
from gatewayd.layers import Settings, layers_of, merge
from gatewayd.observation import Observation, observed
from gatewayd.registry import PluginError
from gatewayd.telemetry.tracing import get_trace_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from gatewayd.config.schema import GatewayConfig
    from gatewayd.ended import Reporter
    from gatewayd.filter import Filter, Forward
    from gatewayd.gateway import Gateway

    AnyFilter = Filter[Any]
    Explain = Callable[[ValidationError, Settings], Sequence[ConfigIssue]]

logger = logging.getLogger("gatewayd.pipeline")

START_SECONDS = 50.0
"""Time for all filters to start: less than a supervisor gives its workers, as it would kill one
that can go on with the configuration before."""

CLOSE_SECONDS = 10.0
"""Time for a filter to close. One that waits for ever would keep the process from ending."""

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

    filters: tuple[AnyFilter, ...]
    end: Forward
    offset: int
    reporters: tuple[Reporter, ...] = ()

    @cached_property
    def forward(self) -> Forward:
        """Runs the filters."""
        return self._link(self.filters, self.end)

    @cached_property
    def preflight(self) -> Forward:
        """Runs them as far as the one that answers CORS preflights."""
        return self._link(_as_far_as_preflight(self.filters), _refuse_preflight)

    def _link(self, filters: Sequence[AnyFilter], end: Forward) -> Forward:
        forward = _link_observed(filters, end, self.offset)
        return _noting(forward, self.reporters) if self.reporters else forward


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


class Pipeline:
    """All chains of one generation.

    Args:
        config: The configuration.
        gateway: What filters are given.

    Attributes:
        entry: The chain that every exchange enters; it ends with the filter that provides the
            route, which continues into the chain of that route.
        chains: The chain of each pair of route and service, by their names.
        run: Runs an exchange, observed where somebody wants that; what it raises is the server's to
            turn into a response.

    """

    entry: Chain
    run: Forward

    def __init__(self, config: GatewayConfig, gateway: Gateway) -> None:
        self._config = config
        self._gateway = gateway
        self.chains: dict[tuple[str, str], Chain] = {}
        self._filters: dict[tuple[str, bytes], AnyFilter] = {}
        self._linked: dict[tuple[int, ...], Chain] = {}
        self._started: list[AnyFilter] = []

    def compile(self, explain: Explain) -> None:
        """Load the filters, make them with their settings, and link the chains.

        Args:
            explain: Turns a failed validation of settings into issues with file and line.

        Raises:
            ConfigError: a filter is missing, out of order, misconfigured, or failed to construct.

        """
        self._explain = explain
        classes = self._load_classes()
        split = 1 + next(
            (i for i, plugin in enumerate(classes) if "route" in plugin.provides), len(classes) - 1
        )
        before, after = classes[:split], classes[split:]
        self._refuse_late_settings({plugin.name for plugin in before})
        self.entry = self._compile(before, end=self._dispatch if after else _end_of_pipeline)
        # Where nobody asks to observe, it costs nothing to ask nobody.
        self._usual = self._run_observing if self._gateway.observers else self.entry.forward
        self.run = self._usual
        self._gateway.observe_next = self._observe_next
        if after:
            self._compile_routes(before, after)

    def _load_classes(self) -> list[type[AnyFilter]]:
        issues = []
        classes = []
        for index, name in enumerate(self._config.pipeline.filters):
            key = f"pipeline.filters[{index}]"
            try:
                plugin = self._gateway.plugins.filters.load(name)
            except PluginError as error:
                issues.append(ConfigIssue(str(error), key=key))
            else:
                classes.append(plugin)
                issues += [
                    ConfigIssue(f"filter {name!r}: {fault}", key=key) for fault in faults_of(plugin)
                ]
        if issues:
            raise ConfigError(issues)
        return classes

    def _refuse_late_settings(self, before: Collection[str]) -> None:
        """Refuse what a route or service sets for a filter that runs before either is known.

        It would do nothing, and somebody who writes ``auth_required = true`` must not get a route
        that is open.
        """
        config = self._config
        places = [
            *((f"services.{name}", one.filters) for name, one in config.services.items()),
            *((f"routes[{index}]", one.filters) for index, one in enumerate(config.routes)),
        ]
        issues = [
            ConfigIssue(
                f"filter {name!r} runs before a route is known, with the settings of [filters]",
                key=f"{place}.filters.{name}",
                hint="place it behind the filter that matches routes, or take this out",
            )
            for place, filters in places
            for name in filters
            if name in before
        ]
        if issues:
            raise ConfigError(issues)

    def _compile_routes(
        self, before: Sequence[type[AnyFilter]], after: Sequence[type[AnyFilter]]
    ) -> None:
        issues: list[ConfigIssue] = []
        for index, route in enumerate(self._config.routes):
            for service in route.services:
                try:
                    chain = self._compile(
                        after,
                        end=_end_of_pipeline,
                        before=before,
                        route=index,
                        service=service.name,
                    )
                except ConfigError as error:
                    issues += error.issues
                else:
                    self.chains[route.name, service.name] = chain
        if issues:
            raise ConfigError(_distinct(issues))

    def _compile(
        self,
        classes: Sequence[type[AnyFilter]],
        *,
        end: Forward,
        before: Sequence[type[AnyFilter]] = (),
        route: int | None = None,
        service: str | None = None,
    ) -> Chain:
        steps = []
        for plugin in classes:
            layers = layers_of(self._config, plugin.name, route=route, service=service)
            settings = merge(plugin.name, layers)
            if settings is not None:
                steps.append(Step(self._instance(plugin, settings), settings))
        filters = [step.filter for step in steps]
        key = tuple(map(id, filters))
        linked = self._linked.get(key)
        if linked is None:
            place = "pipeline.filters" if route is None else f"routes[{route}]"
            _check_order(
                [*before, *map(type, filters)], place, open_end=end is not _end_of_pipeline
            )
            active = [one for one in filters if not (one.does_nothing or one.reports)]
            forward = link(active, end)
            preflight = link(_as_far_as_preflight(filters), _refuse_preflight)
            reporters = tuple(one.report for one in filters if one.reports)
            if route is None:
                for reporter in reporters:
                    self._gateway.ended.report_to(reporter)
                reporters = ()  # they are told of all
            elif reporters:
                forward, preflight = _noting(forward, reporters), _noting(preflight, reporters)
            linked = self._linked[key] = Chain(
                tuple(steps),
                forward,
                preflight,
                Observed(tuple(filters), end, len(before), reporters),
            )
        return Chain(tuple(steps), linked.forward, linked.preflight, linked.observed)

    def _instance(self, plugin: type[AnyFilter], settings: Settings) -> AnyFilter:
        key = (plugin.name, settings.identity)
        if key not in self._filters:
            try:
                config = plugin.Config.model_validate(settings.values)
            except ValidationError as error:
                raise ConfigError(self._explain(error, settings)) from error
            except Exception as error:
                # Without its text, which may hold a secret, and a chain that a log would write.
                message = f"filter {plugin.name!r}: a validator of its settings raised {_at(error)}"
                raise ConfigError(ConfigIssue(message, key=dotted(settings.path))) from None
            if not isinstance(config, plugin.Config):
                message = f"filter {plugin.name!r}: a validator of its settings returned {config!r}"
                hint = "one in mode 'after' has to return self"
                raise ConfigError(ConfigIssue(message, key=dotted(settings.path), hint=hint))
            try:
                self._filters[key] = plugin(config, self._gateway)
            except ConfigError as error:
                raise ConfigError([_placed(issue, settings) for issue in error.issues]) from error
            except Exception as error:
                logger.exception("filter %s cannot be constructed", plugin.name)
                message = f"filter {plugin.name!r} cannot be constructed: {error!r}"
                raise ConfigError(ConfigIssue(message, key=dotted(settings.path))) from error
        return self._filters[key]

    def _dispatch(self, exchange: Exchange) -> Any:
        """Continue into the chain of the route that has been matched."""
        route, service = exchange.route, exchange.service
        assert route is not None and service is not None  # noqa: PT018, S101  # it has them now
        chain: Chain | Observed = self.chains[route.name, service.name]
        if exchange.observation is not None:
            chain = cast("Chain", chain).observed
        return (chain.preflight if exchange.preflight else chain.forward)(exchange)

    def _run_observing(self, exchange: Exchange) -> Any:
        """Ask whoever may want to observe the exchange; all of them, as each may count."""
        chosen = self._asked_for(exchange)
        if chosen is None:
            return self.entry.forward(exchange)
        exchange.observation = chosen
        return self.entry.observed.forward(exchange)

    def _asked_for(self, exchange: Exchange) -> Observation | None:
        chosen: Observation | None = None
        for wants in self._gateway.observers:
            offered = wants(exchange)
            if offered is not None and (chosen is None or offered.detailed):
                chosen = offered
        return chosen

    def _observe_next(self, observation: Observation) -> None:
        """Make an observation of the next exchange, unless somebody else asks for one of it."""

        def run_once(exchange: Exchange) -> Awaitable[Response]:
            self.run = self._usual
            exchange.observation = self._asked_for(exchange) or observation
            return self.entry.observed.forward(exchange)

        self.run = run_once

    @property
    def filters(self) -> list[AnyFilter]:
        """Every filter object, each once."""
        return list(self._filters.values())

    async def start(self) -> None:
        """Start every filter.

        Raises:
            ConfigError: one cannot start with its settings.
            GatewayError: one failed to start, or has not in time; those started before it have
                been closed.

        """
        until = asyncio.get_running_loop().time() + START_SECONDS
        for one in self.filters:
            # Before the call: a start that failed half-way is closed as well.
            self._started.append(one)
            try:
                async with asyncio.timeout_at(until) as limit:
                    await one.start()
            except ConfigError:
                await self.close()
                raise
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and is_cancelled():
                    raise
                await self.close()
                late = f" (not within {START_SECONDS:g} s)" if limit.expired() else ""
                raise GatewayError(
                    f"filter {one.name!r} failed to start: {error!r}{late}"
                ) from error

    async def close(self) -> None:
        """Close every filter, in reverse order; one that fails is logged, the others follow."""
        while self._started:
            one = self._started.pop()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await one.close()
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and is_cancelled():
                    raise
                logger.exception("filter %s failed to close", one.name)

    async def __call__(self, exchange: Exchange) -> Response:
        """Run an exchange; whatever happens, a response comes back (unless it is cancelled).

        One that carries an observation already is observed.
        """
        run = self.entry.observed.forward if exchange.observation is not None else self.run
        try:
            response = await run(exchange)
        except (Exception, SystemExit) as error:
            response = respond_to(error, exchange)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            response = respond_to(error, exchange)
        exchange.response = response
        return response


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


async def _end_of_pipeline(exchange: Exchange) -> Response:
    raise GatewayError(f"{exchange!r} reached the end of the pipeline; a terminal filter forwarded")


def _check_order(classes: Sequence[type[AnyFilter]], place: str, *, open_end: bool) -> None:
    """Check that all needs are provided before they arise, and that exactly the last is terminal.

    ``open_end``: the list is only the part before the routes' chains, so its end is not judged.
    """
    issues = []
    for index, plugin in enumerate(classes):
        provided = frozenset[Any]().union(*(earlier.provides for earlier in classes[:index]))
        for key in sorted(plugin.requires - provided, key=name_of):
            later = [other.name for other in classes[index + 1 :] if key in other.provides]
            reason = f"{later[0]!r} provides it only later" if later else "no filter provides it"
            issues.append(f"filter {plugin.name!r} requires {name_of(key)!r}, but {reason}")
        if plugin.terminal and index < len(classes) - 1:
            unreachable = classes[index + 1].name
            issues.append(f"{unreachable!r} can never run: {plugin.name!r} before it is terminal")
    if not open_end and not (classes and classes[-1].terminal):
        last = repr(classes[-1].name) if classes else "no filter"
        issues.append(f"the pipeline ends with {last}, which does not answer; end with 'upstream'")
    if issues:
        raise ConfigError([ConfigIssue(issue, key=place) for issue in issues])


def _at(error: Exception) -> str:
    """Say what kind of error it is, and where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.filename}:{last.lineno}; it may raise ValueError only"


def _placed(issue: ConfigIssue, settings: Settings) -> ConfigIssue:
    """Complete the key of an issue that a filter found: it knows its settings, not their layer."""
    layer = settings.origins.get(issue.key.partition(".")[0], settings.path)
    key = f"{dotted(layer)}.{issue.key}" if issue.key else dotted(layer)
    return ConfigIssue(issue.message, key=key, hint=issue.hint)


def _distinct(issues: Sequence[ConfigIssue]) -> list[ConfigIssue]:
    """Drop repetitions: one bad gateway-level setting is found again for every route."""
    seen: Mapping[str, ConfigIssue] = {str(issue): issue for issue in issues}
    return list(seen.values())
