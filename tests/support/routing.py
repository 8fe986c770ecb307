"""Routes and tables as tests write them."""

from __future__ import annotations

from typing import Any

from gatewayd import Route, RouteTable
from gatewayd.config.schema import RouteConfig


def make_route(path: str = "/", index: int = 0, **settings: Any) -> Route:
    """Make a route from its settings; it goes to a service unless it redirects."""
    settings.setdefault("name", path.strip("/") or "root")
    # Names are for people here, so that "a/b" may be one.
    settings["name"] = "".join(
        one if one.isalnum() or one in "_.-" else "_" for one in settings["name"]
    )
    if "redirect" not in settings:
        settings.setdefault("service", "origin")
    return Route(RouteConfig.model_validate({"path": path, **settings}), index)


def make_table(*routes: dict[str, Any]) -> RouteTable:
    """Make a table of routes, each from its settings."""
    return RouteTable([make_route(index=index, **route) for index, route in enumerate(routes)])
