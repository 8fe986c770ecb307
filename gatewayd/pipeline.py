"""The pipeline: an ordered list of filters, compiled once per route into a chain of calls.

The order is the order of the configuration. It is checked, never changed: whatever a filter
``requires`` must be provided by one before it, and the last one must be terminal. The filter that
provides the route splits the list: those before it run for every request with the gateway's
settings, those after it are compiled for every pair of route and service with the settings of all
three layers (see :mod:`gatewayd.layers`).

Filters with equal settings are one object, and routes with the same filters share one chain (see
:mod:`gatewayd.chain`), so ten thousand routes cost no more than their rules.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from gatewayd.cancellation import is_cancelled
from gatewayd.chain import Chain, Observed, Step, end_of_pipeline, link, respond_to
from gatewayd.declarations import check_order, faults_of
from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.filter_objects import FilterObjects
from gatewayd.layers import layers_of, merge
from gatewayd.registry import PluginError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Mapping, Sequence

    from gatewayd.config.schema import GatewayConfig
    from gatewayd.exchange import Exchange, Response
    from gatewayd.filter import Filter, Forward
    from gatewayd.filter_objects import Explain
    from gatewayd.gateway import Gateway
    from gatewayd.observation import Observation

    AnyFilter = Filter[Any]

__all__ = ["Pipeline", "link"]


class Pipeline:
    """All chains of one generation.

    Args:
        config: The configuration.
        gateway: What filters are given.
        explain: Turns a failed validation of settings into issues with file and line.

    Attributes:
        entry: The chain that every exchange enters; it ends with the filter that provides the
            route, which continues into the chain of that route.
        chains: The chain of each pair of route and service, by their names.
        run: Runs an exchange, observed where somebody wants that; what it raises is the server's to
            turn into a response.

    """

    entry: Chain
    run: Forward

    def __init__(self, config: GatewayConfig, gateway: Gateway, explain: Explain) -> None:
        self._config = config
        self._gateway = gateway
        self.chains: dict[tuple[str, str], Chain] = {}
        self._filters = FilterObjects(gateway, explain)
        self._linked: dict[tuple[int, ...], Chain] = {}

    def compile(self) -> None:
        """Load the filters, make them with their settings, and link the chains.

        Raises:
            ConfigError: a filter is missing, out of order, misconfigured, or failed to construct.

        """
        classes = self._load_classes()
        split = 1 + next(
            (i for i, plugin in enumerate(classes) if "route" in plugin.provides), len(classes) - 1
        )
        before, after = classes[:split], classes[split:]
        self._refuse_late_settings({plugin.name for plugin in before})
        self.entry = self._compile(before, end=self._dispatch if after else end_of_pipeline)
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
                        end=end_of_pipeline,
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
                steps.append(Step(self._filters.get(plugin, settings), settings))
        filters = [step.filter for step in steps]
        key = tuple(map(id, filters))
        linked = self._linked.get(key)
        if linked is None:
            place = "pipeline.filters" if route is None else f"routes[{route}]"
            check_order([*before, *map(type, filters)], place, open_end=end is not end_of_pipeline)
            reporters = tuple(one.report for one in filters if one.reports)
            if route is None:
                for reporter in reporters:
                    self._gateway.ended.report_to(reporter)
                reporters = ()  # they are told of all
            linked = self._linked[key] = Chain.of(tuple(steps), end, len(before), reporters)
        return replace(linked, steps=tuple(steps))

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
        return list(self._filters)

    async def start(self) -> None:
        """Start every filter.

        Raises:
            ConfigError: one cannot start with its settings.
            GatewayError: one failed to start, or has not in time; those started before it have
                been closed.

        """
        await self._filters.start()

    async def close(self) -> None:
        """Close every filter that was started, in reverse order; failures are logged."""
        await self._filters.close()

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


def _distinct(issues: Sequence[ConfigIssue]) -> list[ConfigIssue]:
    """Drop repetitions: one bad gateway-level setting is found again for every route."""
    seen: Mapping[str, ConfigIssue] = {str(issue): issue for issue in issues}
    return list(seen.values())
