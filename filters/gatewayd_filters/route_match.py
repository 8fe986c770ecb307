"""Find the route of a request, and with it its service, its path parameters and its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd import (
    Filter,
    FilterConfig,
    Headers,
    Reject,
    Response,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatewayd import Exchange, Forward, Gateway, Request


class RouteMatchConfig(FilterConfig):
    """Settings of `route_match`; it has none: what it does stands in `[[routes]]`."""


class RouteMatch(Filter[RouteMatchConfig]):
    """Match the request to a route; answer redirects, and refuse what no route takes.

    The path stays the client's: filters see it, and ``upstream`` applies the route's rewrite. The
    deadline counts from when the request was received, so that time in a queue counts as well.
    """

    name = "route_match"
    Config = RouteMatchConfig
    provides = frozenset({"route", "params", "service"})

    def __init__(self, config: RouteMatchConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._find = gateway.routes.find
        self._services = gateway.services

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 404 ``route_not_found``, 405 ``method_not_allowed``, or 400 ``bad_path`` where
                a redirect's target cannot be made from the path.

        """
        request = exchange.request
        find = self._find
        path, host, fields, query = request.path, request.host, request.headers, request.query
        match = find(request.method, path, host, fields, query)
        route = match.route
        if route is None:
            asked = _preflight_method(request)
            allowed = match.allowed
            if asked is not None:
                match = find(asked, path, host, fields, query)
                route = match.route
            if route is None:
                raise _refusal(allowed)
            exchange.preflight = True
        exchange.route, params = route, match.params
        if params:
            exchange.params = params
        if route.redirect is not None:
            location = route.redirect_location(request.path, params, request.query)
            return _redirect(route.redirect.status, location)
        if route.timeout is not None:
            exchange.deadline = exchange.received_at + route.timeout
        exchange.service = self._services[route.pick_service()]
        return forward(exchange)


async def _redirect(status: int, location: str) -> Response:
    return Response(status, Headers.of([("Location", location)]))


def _preflight_method(request: Request) -> str | None:
    """Return the method that a CORS preflight asks about (Fetch standard, CORS protocol)."""
    if request.method != "OPTIONS" or "Origin" not in request.headers:
        return None
    return request.headers.get("Access-Control-Request-Method")


def _refusal(allowed: tuple[str, ...]) -> Reject:
    if not allowed:
        return Reject(404, "route_not_found", "No route matches this request.")
    return Reject(
        405,
        "method_not_allowed",
        "The route does not take this method.",
        [("Allow", ", ".join(allowed))],
    )
