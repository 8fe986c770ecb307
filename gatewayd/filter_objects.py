"""The filter objects of one generation: made, started in order, closed in reverse."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gatewayd.cancellation import is_cancelled
from gatewayd.config.places import dotted
from gatewayd.errors import ConfigError, ConfigIssue, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatewayd.filter import Filter
    from gatewayd.gateway import Gateway
    from gatewayd.layers import Settings

    AnyFilter = Filter[Any]
    Explain = Callable[[ValidationError, Settings], Sequence[ConfigIssue]]

logger = logging.getLogger("gatewayd.pipeline")

START_SECONDS = 50.0
"""Time for all filters to start: less than a supervisor gives its workers, as it would kill one
that can go on with the configuration before."""

CLOSE_SECONDS = 10.0
"""Time for a filter to close. One that waits for ever would keep the process from ending."""


class FilterObjects:
    """All filters of one generation; those of one class with equal settings are one object.

    Args:
        gateway: What filters are given.
        explain: Turns a failed validation of settings into issues with file and line.

    """

    def __init__(self, gateway: Gateway, explain: Explain) -> None:
        self._gateway = gateway
        self._explain = explain
        self._made: dict[tuple[str, bytes], AnyFilter] = {}
        self._started: list[AnyFilter] = []

    def __iter__(self) -> Iterator[AnyFilter]:
        return iter(self._made.values())

    def get(self, plugin: type[AnyFilter], settings: Settings) -> AnyFilter:
        """Return the filter of a class with these settings; it is made where there is none yet.

        Raises:
            ConfigError: its settings are not valid, or it cannot be constructed.

        """
        key = (plugin.name, settings.identity)
        if key not in self._made:
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
                self._made[key] = plugin(config, self._gateway)
            except ConfigError as error:
                raise ConfigError([_placed(issue, settings) for issue in error.issues]) from error
            except Exception as error:
                logger.exception("filter %s cannot be constructed", plugin.name)
                message = f"filter {plugin.name!r} cannot be constructed: {error!r}"
                raise ConfigError(ConfigIssue(message, key=dotted(settings.path))) from error
        return self._made[key]

    async def start(self) -> None:
        """Start every filter.

        Raises:
            ConfigError: one cannot start with its settings.
            GatewayError: one failed to start, or has not in time; those started before it have
                been closed.

        """
        until = asyncio.get_running_loop().time() + START_SECONDS
        for one in list(self._made.values()):
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


def _at(error: Exception) -> str:
    """Say what kind of error it is, and where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.filename}:{last.lineno}; it may raise ValueError only"


def _placed(issue: ConfigIssue, settings: Settings) -> ConfigIssue:
    """Complete the key of an issue that a filter found: it knows its settings, not their layer."""
    layer = settings.origins.get(issue.key.partition(".")[0], settings.path)
    key = f"{dotted(layer)}.{issue.key}" if issue.key else dotted(layer)
    return ConfigIssue(issue.message, key=key, hint=issue.hint)
