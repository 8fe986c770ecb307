"""What a route says, for people to read; secrets are hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd.config.load import LoadedConfig
    from gatewayd.config.places import KeyPath
    from gatewayd.routing.route import Route


def place(loaded: LoadedConfig, path: KeyPath) -> str:
    """Return where a key stands, as ``file:line``; empty for what stands nowhere."""
    file, line = loaded.where(path)
    return f"{file}:{line}" if line else file


def path_of(route: Route) -> KeyPath:
    """Return where a route stands."""
    return ("routes", route.index)


def conditions_of(route: Route, loaded: LoadedConfig) -> dict[str, str]:
    """Return what is asked of header fields and the query, by the form that may hold secrets."""
    tables = {"header": "headers", "query": "query"}
    conditions = {}
    for predicate in route.predicates:
        path = (*path_of(route), tables[predicate.where], predicate.name)
        shown = loaded.redact(predicate.test.text, path)
        conditions[str(predicate)] = f"{predicate.where} {predicate.name} = {shown!r}"
    return conditions


def target_of(route: Route, loaded: LoadedConfig) -> list[str]:
    """Return where a route leads: its services with their weights if several, or its redirect."""
    redirect = route.config.redirect
    if redirect is not None:
        to = loaded.redact(redirect.to, (*path_of(route), "redirect", "to"))
        return [f"redirect {redirect.status} {to}"]
    if len(route.services) == 1:
        return [route.services[0].name]
    return [f"{one.name} ({one.weight})" for one in route.services]
