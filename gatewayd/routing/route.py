"""A route: a rule that matches requests, and where they go, compiled from its configuration."""

from __future__ import annotations

import itertools
import random
from bisect import bisect
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.routing.pattern import PathPattern
from gatewayd.routing.predicates import Predicate, ValueTest, host_pattern
from gatewayd.routing.rewrite import Redirect, Rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayd.config.schema import RouteConfig
    from gatewayd.headers import Headers
    from gatewayd.routing.pattern import SortKey
    from gatewayd.routing.predicates import Query

RouteOrder: TypeAlias = "tuple[SortKey, tuple[int, ...], int, str]"

_ANY_METHOD = 1 << 16  # more than a route can name


class Route:
    """A compiled route.

    Args:
        config: The settings.
        index: Place in the configuration's list, for errors.

    Attributes:
        name: Unique name.
        config: The settings that it was made from.
        index: Place in the configuration's list.
        priority: The higher one is tried first.
        hosts: Hosts as they are compared, ``*.name`` for wildcards; empty for all hosts.
        methods: Methods, HEAD included where GET is; ``None`` for all.
        pattern: The path pattern.
        predicates: Header fields and query parameters that must be there.
        services: Names of the services with their weights, where these are not 0.
        timeout: Seconds for the whole exchange, or ``None``.
        rewrite: How the path changes on its way upstream, or ``None``.
        redirect: The answer to give instead of forwarding, or ``None``.
        order: Sorts routes of one priority and host, the most specific one first.

    Raises:
        ConfigError: the configuration makes no route; names each key that is wrong.

    """

    __slots__ = ("_only_service", "_shares", "config", "hosts", "index", "methods", "name",
                 "order", "pattern", "predicates", "priority", "redirect", "rewrite", "services",
                 "timeout")  # fmt: skip

    def __init__(self, config: RouteConfig, index: int = 0) -> None:
        self.name = config.name
        self.config = config
        self.index = index
        self.priority = config.priority
        self.timeout = config.timeout
        self.methods = _methods(config.methods)
        issues: list[ConfigIssue] = []
        self.predicates = self._take_predicates(issues)
        with self._blame("hosts", issues):
            self.hosts = tuple(dict.fromkeys(map(host_pattern, config.hosts)))
        with self._blame("service", issues):
            self._take_services()
        with self._blame("path", issues):
            self.pattern = PathPattern(config.path, config.match)
        if issues:  # without a pattern, its parameters are not known
            raise ConfigError(issues)
        self.rewrite: Rewrite | None = None
        with self._blame("rewrite", issues):
            if config.rewrite is not None:
                if config.redirect is not None:
                    raise ValueError("a redirect is not sent upstream, so it has no rewrite")
                self.rewrite = Rewrite(config.rewrite, self.pattern)
        self.redirect: Redirect | None = None
        with self._blame("redirect", issues):
            if config.redirect is not None:
                self.redirect = Redirect(config.redirect, self.pattern)
        if issues:
            raise ConfigError(issues)
        self.order = self._order()

    @contextmanager
    def _blame(self, key: str, issues: list[ConfigIssue]) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            issues.append(ConfigIssue(str(error), key=f"routes[{self.index}].{key}"))

    def _take_predicates(self, issues: list[ConfigIssue]) -> list[Predicate]:
        predicates = []
        for where, key in (("header", "headers"), ("query", "query")):
            wanted: dict[str, str] = getattr(self.config, key)
            for name, text in wanted.items():
                with self._blame(f"{key}.{name}", issues):
                    predicates.append(Predicate(where, name, text))
        return predicates

    def _take_services(self) -> None:
        self.services = tuple(one for one in self.config.services if one.weight)
        if not self.services and self.config.redirect is None:
            raise ValueError("expected at least one service with a weight above 0")
        self._only_service = self.services[0].name if len(self.services) == 1 else ""
        self._shares = list(itertools.accumulate(one.weight for one in self.services))

    def _order(self) -> RouteOrder:
        kinds = [predicate.test.kind for predicate in self.predicates]
        tests = (len(kinds), kinds.count(ValueTest.EXACT), kinds.count(ValueTest.REGEX))
        methods = _ANY_METHOD if self.methods is None else len(self.methods)
        return (self.pattern.sort_key, tuple(-count for count in tests), methods, self.name)

    def unmet(self, headers: Headers | None, query: Query) -> Predicate | None:
        """Return the first predicate that the request does not meet."""
        for predicate in self.predicates:
            if not predicate.accepts(headers, query):
                return predicate
        return None

    def pick_service(self) -> str:
        """Return the name of a service, at random by weight. A redirect has none."""
        if self._only_service:
            return self._only_service
        point = random.random() * self._shares[-1]  # noqa: S311  # shares, not secrets
        return self.services[bisect(self._shares, point)].name

    def rewritten(self, path: str, params: Mapping[str, str]) -> str:
        """Return the path to send upstream.

        Args:
            path: Path of the request, normalised.
            params: Its path parameters, decoded.

        Raises:
            Reject: 400 ``bad_path``: the rewrite makes no valid path of it.

        """
        return path if self.rewrite is None else self.rewrite.apply(path, params)

    def redirect_location(self, path: str, params: Mapping[str, str], query: str | None) -> str:
        """Return the Location of a redirect; parameters as in :meth:`rewritten`.

        Raises:
            Reject: 400 ``bad_path``: a path parameter cannot be put into a URI.
            ValueError: the route is no redirect.

        """
        if self.redirect is None:
            raise ValueError(f"route {self.name!r} is no redirect")
        return self.redirect.location(path, params, query)

    def __repr__(self) -> str:
        return f"<route {self.name}: {self.config.path}>"


def _methods(methods: list[str]) -> frozenset[str] | None:
    if not methods:
        return None
    return frozenset(methods) | ({"HEAD"} if "GET" in methods else set())
