"""What a filter class declares, checked when a pipeline names it.

A mistake in a declaration would show as a traceback far from it, or, worse, never: a misspelt
attribute is provided to nobody, and a shorthand that is a route's own key is never asked for.
"""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any, get_args

from gatewayd.config.schema import RouteConfig
from gatewayd.exchange import Attribute, Key
from gatewayd.filter import Filter

if TYPE_CHECKING:
    from collections.abc import Iterator


def faults_of(plugin: type[Filter[Any]]) -> Iterator[str]:
    """Find what a class says of itself that the pipeline could not use, or would overlook."""
    for declaration in ("requires", "provides"):
        declared = getattr(plugin, declaration)
        if not isinstance(declared, (frozenset, set)):
            yield f"`{declaration}` is no frozenset, but {declared!r}"
            continue
        for one in declared:
            if not isinstance(one, Key) and one not in get_args(Attribute):
                nearest = difflib.get_close_matches(str(one), get_args(Attribute), n=1)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                yield f"`{declaration}` has {one!r}, which is no Key and no attribute{hint}"
    for key in plugin.route_keys:
        if key in RouteConfig.model_fields:
            yield f"its shorthand {key!r} is a key of routes already"
    if plugin.__call__ is Filter.__call__:
        if not plugin.reports:
            yield "has no `__call__`, and is none that `reports`"
        return
    try:
        inspect.signature(plugin.__call__).bind(None, None, None)
    except TypeError:
        yield "its `__call__` does not take an exchange and `forward`"
