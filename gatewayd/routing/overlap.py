"""Routes that are probably a mistake: shadowed and ambiguous ones.

A route is *shadowed* if another one comes before it and matches whatever it matches. Two routes are
*ambiguous* if only their names decide which one wins a request that both match. Both are found as
far as can be told: of two expressions it is only seen whether they are the same, and a route that
several others shadow together is not seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.errors import ConfigIssue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatewayd.routing.route import Route
    from gatewayd.routing.tree import PathTable


def find_overlaps(
    routes: Sequence[Route], by_host: Mapping[str, Sequence[PathTable]]
) -> list[ConfigIssue]:
    """Return a warning for every route that is shadowed, or else ambiguous.

    Args:
        routes: All routes.
        by_host: For every host that routes have, and for ``""``, the tables to look it up in.

    """
    issues = []
    for route in routes:
        hosts = route.hosts or ("",)
        rivals = {host: list(_rivals(route, host, by_host[host])) for host in hosts}
        covering = [{one for one in rivals[host] if _covers(one, route)} for host in hosts]
        equal = {one for host in hosts for one in rivals[host] if _equally_specific(one, route)}
        if shadows := set.intersection(*covering):
            issues.append(_shadowed(route, min(shadows, key=lambda one: one.name)))
        elif equal:
            issues.append(_equal(route, min(equal, key=lambda one: one.name)))
    return issues


def _rivals(route: Route, host: str, tables: Sequence[PathTable]) -> Iterator[Route]:
    """Yield routes that are tried before ``route`` and can take any of its paths on ``host``."""
    for table in tables:
        own = table.priority == route.priority and table.host == host
        for one in table.covering(route.pattern):
            if (not own or one.order < route.order) and _can_match_the_same(one, route):
                yield one
        if own:
            return


def _can_match_the_same(one: Route, other: Route) -> bool:
    for mine in one.predicates:
        for theirs in other.predicates:
            if mine.subject == theirs.subject and mine.test.excludes(theirs.test):
                return False
    return not (one.methods and other.methods and one.methods.isdisjoint(other.methods))


def _covers(one: Route, other: Route) -> bool:
    """Whether the methods and predicates of ``one`` let pass whatever those of ``other`` do."""
    if one.methods is not None and (other.methods is None or not other.methods <= one.methods):
        return False
    return all(
        any(
            mine.subject == theirs.subject and mine.test.covers(theirs.test)
            for theirs in other.predicates
        )
        for mine in one.predicates
    )


def _equally_specific(one: Route, other: Route) -> bool:
    return (
        one.priority == other.priority
        and one.order[:-1] == other.order[:-1]
        and one.pattern.signature == other.pattern.signature
    )


def _shadowed(route: Route, by: Route) -> ConfigIssue:
    return ConfigIssue(
        f"route {route.name!r} never matches: {by.name!r} comes before it and matches all of its "
        "requests",
        key=f"routes[{route.index}]",
    )


def _equal(route: Route, winner: Route) -> ConfigIssue:
    return ConfigIssue(
        f"route {route.name!r} is as specific as {winner.name!r} and can match the same requests; "
        f"{winner.name!r} wins because of its name",
        key=f"routes[{route.index}]",
        hint="give one of them a priority",
    )
