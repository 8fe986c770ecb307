"""The route table: which route a request takes, flat to ten thousand routes.

All conditions of a route belong to the match: path, host, method, header fields and query. Of the
routes that match, the most specific one wins, which is the first in this order:

1. the higher ``priority``;
2. an exact host before the wildcard with the most labels, before no host;
3. a literal path of an exact route, before regular expressions (``match = "regex"``; the longer one
   first), before all others. So a catch-all prefix does not hide an expression, as in nginx;
4. segment by segment: literal, ``{param:regex}`` (the longer expression first), ``{param}``, what
   lies below a prefix or in ``{rest...}``. So the longer one of two prefixes wins;
5. more header and query conditions, exact ones before expressions before ``*``;
6. fewer methods, all methods last;
7. the name, alphabetically, so that the order of the file never counts.

If nothing matches, but something would with another method, the answer is 405 with all methods that
would; a route's header and query conditions must be met for it to count.

Lookup takes the same time for ten routes and for ten thousand: hosts are found in a dict, paths as
:mod:`gatewayd.routing.tree` tells. What it grows with are regular expressions, routes that differ
in nothing but header, query and method, and distinct priorities.
"""

from __future__ import annotations

from collections import defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.routing.escapes import matching
from gatewayd.routing.overlap import find_overlaps
from gatewayd.routing.predicates import Query, host_name, host_patterns, host_rank
from gatewayd.routing.tree import PathTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayd.headers import Headers
    from gatewayd.routing.route import Route

# Lookups that are remembered, where no route asks for fields or query: 0.2 us instead of 1 to 2.
# Bounded in number and size, so that clients that never ask twice cost 5 MB at most.
_MAX_REMEMBERED = 16384
_MAX_REMEMBERED_LENGTH = 128
_NO_QUERY = Query(None)
_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class Match(Struct, frozen=True):
    """What a lookup found.

    Attributes:
        route: The route, or ``None``.
        params: Its path parameters, decoded.
        allowed: Where there is no route, but would be with another method: these, sorted.

    """

    route: Route | None
    params: Mapping[str, str] = _NO_PARAMS
    allowed: tuple[str, ...] = ()


NOT_FOUND = Match(None)


class Verdict(NamedTuple):
    """Why a route took a request, or did not.

    Attributes:
        route: The route.
        failed: The first condition that is not met, such as ``path``; ``""`` if all are.
        chosen: Whether it is the one that takes the request.

    """

    route: Route
    failed: str
    chosen: bool


class RouteTable:
    """Finds routes. It never changes: a new configuration makes a new one.

    Args:
        routes: The routes, in any order.

    Raises:
        ConfigError: two routes have the same name.

    """

    def __init__(self, routes: Sequence[Route]) -> None:
        _refuse_same_names(routes)
        # A route with several hosts stands at several places.
        self._placed = sorted(
            ((route, host) for route in routes for host in route.hosts or ("",)),
            key=lambda placed: (-placed[0].priority, host_rank(placed[1]), placed[0].order),
        )
        self._asks_query = any(one.where == "query" for route in routes for one in route.predicates)
        tables: dict[tuple[int, str], PathTable] = {}
        for route, host in self._placed:
            key = (route.priority, host)
            if key not in tables:
                tables[key] = PathTable(*key)
            tables[key].add(route)
        self._by_host = _tables_by_host(tables.values())
        self._simple = not any(route.predicates for route in routes)
        self._remembered: dict[tuple[str, str, str], Match] = {}
        self._asks_host = len(self._by_host) > 1
        self._default = self._by_host[""]
        # Most routes have no parameters: their matches are made once.
        self._matches = {one: Match(one) for one in routes if not one.pattern.has_params}
        wildcards = {host.count(".") for host in self._by_host if host.startswith("*.")}
        self._wildcard_labels = sorted(wildcards, reverse=True)

    def _tables(self, host: str) -> Sequence[PathTable]:
        name = host_name(host)
        if name in self._by_host:
            return self._by_host[name]
        for labels in self._wildcard_labels:
            _, *above = name.rsplit(".", labels)
            wildcard = "*." + ".".join(above)
            if wildcard in self._by_host:
                return self._by_host[wildcard]
        return self._default

    def find(
        self,
        method: str,
        path: str,
        host: str = "",
        headers: Headers | None = None,
        query: str | None = None,
    ) -> Match:
        """Find the route of a request.

        Args:
            method: Method token.
            path: Normalised path; see :class:`gatewayd.routing.normalise.PathPolicy`.
            host: Host, with or without port, in any case; ``""`` if there is none.
            headers: Header fields.
            query: Query without ``?``.

        """
        if not self._simple:
            return self._search(method, path, host, headers, query)
        # What is asked for again is found again: only method, path and host decide here.
        key = (method, path, host)
        match = self._remembered.get(key)
        if match is None:
            match = self._search(method, path, host, headers, query)
            if len(method) + len(path) + len(host) <= _MAX_REMEMBERED_LENGTH:
                if len(self._remembered) >= _MAX_REMEMBERED:
                    self._remembered.clear()
                self._remembered[key] = match
        return match

    def _search(
        self, method: str, path: str, host: str, headers: Headers | None, query: str | None
    ) -> Match:
        if "%" in path or ";" in path:
            path = matching(path)
        parameters = Query(query) if self._asks_query else _NO_QUERY
        tables = self._tables(host) if self._asks_host else self._default
        found = False
        for table in tables:
            for routes in table.candidates(path):
                for route in routes:
                    if (route.methods is None or method in route.methods) and (
                        not route.predicates or route.unmet(headers, parameters) is None
                    ):
                        return self._matches.get(route) or Match(route, route.pattern.params(path))
                    found = True
        return self._refusal(tables, path, headers, parameters) if found else NOT_FOUND

    def _refusal(
        self,
        tables: Sequence[PathTable],
        path: str,
        headers: Headers | None,
        query: Query,
    ) -> Match:
        allowed: set[str] = set()
        for table in tables:
            for routes in table.candidates(path):
                for route in routes:
                    if route.methods is not None and route.unmet(headers, query) is None:
                        allowed |= route.methods
        return Match(None, allowed=tuple(sorted(allowed))) if allowed else NOT_FOUND

    def routes(self) -> Sequence[Route]:
        """Return all routes in the order in which they are tried."""
        return tuple(dict.fromkeys(route for route, _ in self._placed))

    def explain(
        self,
        method: str,
        path: str,
        *,
        host: str = "",
        headers: Headers | None = None,
        query: str | None = None,
    ) -> list[Verdict]:
        """Tell of every route why it takes a request or not; parameters as in :meth:`find`.

        The routes come in the order in which this request tries them, those for other hosts last.
        """
        path, parameters = matching(path), Query(query)
        covering = set(host_patterns(host_name(host)))
        tried = dict.fromkeys(route for route, pattern in self._placed if pattern in covering)
        verdicts = []
        chosen = False
        for route in tried:
            failed = _failed(route, method, path, headers, parameters)
            verdicts.append(Verdict(route, failed, chosen=not failed and not chosen))
            chosen = chosen or not failed
        others = (route for route in self.routes() if route not in tried)
        return verdicts + [Verdict(route, "host", chosen=False) for route in others]

    def warnings(self) -> list[ConfigIssue]:
        """Return what is probably a mistake: routes that never match, or that are ambiguous."""
        return find_overlaps(self.routes(), self._by_host)

    def __repr__(self) -> str:
        return f"<{len(self.routes())} routes>"


def _refuse_same_names(routes: Sequence[Route]) -> None:
    seen: set[str] = set()
    issues = []
    for route in routes:
        if route.name in seen:
            key = f"routes[{route.index}].name"
            issues.append(ConfigIssue(f"another route is called {route.name!r} as well", key=key))
        seen.add(route.name)
    if issues:
        raise ConfigError(issues)


def _tables_by_host(tables: Iterable[PathTable]) -> dict[str, list[PathTable]]:
    """Return for every configured host, and for ``""``, all tables to try, in order."""
    own: defaultdict[str, list[PathTable]] = defaultdict(list)
    for table in tables:
        own[table.host].append(table)
    return {
        host: sorted(
            (table for pattern in host_patterns(host) for table in own.get(pattern, ())),
            key=lambda table: (-table.priority, host_rank(table.host)),
        )
        for host in {*own, ""}
    }


def _failed(route: Route, method: str, path: str, headers: Headers | None, query: Query) -> str:
    if not route.pattern.matches(path):
        return "path"
    unmet = route.unmet(headers, query)
    if unmet is not None:
        return str(unmet)
    return "" if route.methods is None or method in route.methods else "method"
