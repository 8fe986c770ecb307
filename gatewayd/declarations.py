"""What filter classes declare, checked when a pipeline names them.

A mistake in a declaration would show as a traceback far from it, or, worse, never: a misspelt
attribute is provided to nobody, and a shorthand that is a route's own key is never asked for.
"""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any, get_args

from gatewayd.config.schema import RouteConfig
from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.exchange import Attribute, Key, name_of
from gatewayd.filter import Filter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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


def check_order(classes: Sequence[type[Filter[Any]]], place: str, *, open_end: bool) -> None:
    """Check that all needs are provided before they arise, and that exactly the last is terminal.

    Args:
        classes: The filters of an exchange, in order.
        place: Where they are set in the configuration.
        open_end: They are only those before the routes' chains, so the end is not judged.

    Raises:
        ConfigError: an exchange could not go through them.

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
