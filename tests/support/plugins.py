"""Filters that a test defines for itself, and plugins that know them."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from gatewayd import Filter, FilterConfig
from gatewayd.registry import Plugins, Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd import Exchange, Forward, Response

GROUP = "gatewayd.filters"


class LocalFilters(Registry[Filter[FilterConfig]]):
    """The installed filters, with classes of a test over them.

    Args:
        classes: The classes, each with the name that it has as a plugin.

    """

    def __init__(self, *classes: type[Filter[Any]]) -> None:
        super().__init__(GROUP, Filter)
        for one in classes:
            self._points[one.name] = [EntryPoint(one.name, "of.a:test", GROUP)]
            self._loaded[one.name] = one


def plugins_with(*classes: type[Filter[Any]]) -> Plugins:
    """Return the installed plugins, and these filters."""
    return Plugins(filters=LocalFilters(*classes))


def answering(answer: Callable[[Exchange], Awaitable[Response]]) -> type[Filter[FilterConfig]]:
    """Return a terminal filter with the name ``answer``, which answers with a function."""

    async def call(_: Filter[Any], exchange: Exchange, __: Forward) -> Response:
        return await answer(exchange)

    members = {"name": "answer", "terminal": True, "__call__": call}
    return type("Answer", (Filter,), members)
