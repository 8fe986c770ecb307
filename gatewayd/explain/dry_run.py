"""What becomes of a request: its route, why not another one, and the filters on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from gatewayd.config.marked import hide_marked
from gatewayd.config.places import dotted
from gatewayd.errors import Reject
from gatewayd.explain.routes import conditions_of, path_of, place, target_of
from gatewayd.layers import layers_of
from gatewayd.server.entry import make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gatewayd.chain import Step
    from gatewayd.config.load import LoadedConfig
    from gatewayd.exchange import Request
    from gatewayd.generation import Generation
    from gatewayd.routing.route import Route
    from gatewayd.routing.table import Verdict

T = TypeVar("T")

# Who asks. Where it is a trusted proxy, -H X-Forwarded-For may name another client.
_CLIENT = "127.0.0.1"


def explain(
    generation: Generation, method: str, target: str, headers: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """Explain one request; returns what ``--json`` prints.

    Args:
        generation: The compiled configuration.
        method: Method.
        target: Path with query, as a client would send it.
        headers: Header fields, Host among them.

    """
    entry = generation.entry
    raw = [(name.encode(), value.encode()) for name, value in headers]
    try:
        line = entry.request_line(f"{method} {target} HTTP/1.1".encode())
        fields = entry.check(raw, line.version, entry.peer(_CLIENT, 0, "http", None))
    except Reject as reject:
        return {"refusal": _refusal(reject.status, reject.code, reject.detail)}
    request = make_request(line, fields)
    asked = method
    match = _ask(generation.routes.find, method, request)
    if match.route is None and (preflight := _preflight_method(request)) is not None:
        asked = preflight
        match = _ask(generation.routes.find, asked, request)
    verdicts = _ask(generation.routes.explain, asked, request)
    explanation: dict[str, Any] = {
        "request": {"host": request.host, "path": request.path, "query": request.query},
        "preflight": asked != method,
        "verdicts": [describe_verdict(one, match.route, generation.loaded) for one in verdicts],
    }
    if match.route is not None:
        return explanation | _taken(generation, match.route, match.params)
    if match.allowed:
        refusal = _refusal(405, "method_not_allowed", f"Allow: {', '.join(match.allowed)}")
    else:
        refusal = _refusal(404, "route_not_found", "No route matches this request.")
    return explanation | {"refusal": refusal}


def _ask(rules: Callable[..., T], method: str, request: Request) -> T:
    headers, query = request.headers, request.query
    return rules(method, request.path, host=request.host, headers=headers, query=query)


def _preflight_method(request: Request) -> str | None:
    if request.method != "OPTIONS" or "Origin" not in request.headers:
        return None
    return request.headers.get("Access-Control-Request-Method")


def _refusal(status: int, code: str, detail: str) -> dict[str, Any]:
    return {"status": status, "code": code, "detail": detail}


def describe_verdict(verdict: Verdict, taken: Route | None, loaded: LoadedConfig) -> dict[str, Any]:
    """Tell why a route takes a request, or does not."""
    route = verdict.route
    failed = verdict.failed
    if failed and failed not in ("path", "host", "method"):
        failed = conditions_of(route, loaded)[failed]
    if verdict.chosen:
        reason = "takes the request"
    elif not failed and taken is not None:
        reason = f"matches too, but {taken.name} is tried before"
    elif failed == "method":
        reason = f"method: takes {', '.join(sorted(route.methods or ()))}"
    else:
        reason = failed
    return {"route": route.name, "failed": failed, "reason": reason}


def _taken(generation: Generation, route: Route, params: Mapping[str, str]) -> dict[str, Any]:
    entry = generation.pipeline.entry.steps
    chains: list[dict[str, Any]]
    if route.redirect is not None:
        # The filter that matches routes answers, so none behind it runs.
        chains = [{"service": None, "filters": _filters(generation, entry, route, None)}]
    else:
        chains = []
        for service in route.services:
            chain = generation.pipeline.chains.get((route.name, service.name))
            steps = [*entry, *(chain.steps if chain else ())]
            filters = _filters(generation, steps, route, service.name)
            chains.append({"service": service.name, "filters": filters})
    return {
        "route": route.name,
        "place": place(generation.loaded, path_of(route)),
        "params": dict(params),
        "to": target_of(route, generation.loaded),
        "chains": chains,
    }


def _filters(
    generation: Generation, steps: Iterable[Step], route: Route, service: str | None
) -> list[dict[str, Any]]:
    """Tell the filters in order: what runs with its settings, what a layer removed with that."""
    loaded = generation.loaded
    running = {step.filter.name: step for step in steps}
    filters: list[dict[str, Any]] = []
    for name in loaded.config.pipeline.filters:
        if name in running:
            filters.append({"filter": name, "settings": list(_settings(loaded, running[name]))})
        elif service is not None:
            *_, layer = layers_of(loaded.config, name, route=route.index, service=service)
            removed = {"layer": dotted(layer.path), "place": place(loaded, layer.path)}
            filters.append({"filter": name, "removed_by": removed})
    return filters


def _settings(loaded: LoadedConfig, step: Step) -> Iterator[dict[str, Any]]:
    """Tell every setting of a filter with the layer that it came from; secrets are hidden."""
    for key, value in step.filter.config.model_dump(mode="json").items():
        layer = step.settings.origins.get(key)
        if layer is None:
            yield {"key": key, "value": value, "layer": "default", "place": ""}
        else:
            path = (*layer, key)
            marked = hide_marked(step.filter.Config, key, step.settings.values[key])
            shown = loaded.redact(marked, path)
            yield {"key": key, "value": shown, "layer": dotted(layer), "place": place(loaded, path)}
