"""The record of one exchange that really took place, for whoever asks why it went as it did.

It is made from an observation (:mod:`gatewayd.observation`) and from the configuration: which
routes were candidates and what each failed at, what every filter decided and how long it took, by
which file and line it is there, which header fields it changed, and the attempts at instances.
Values of header fields are not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayd.explain.dry_run import describe_verdict
from gatewayd.explain.routes import path_of, place
from gatewayd.telemetry.tracing import get_trace_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayd.chain import Step
    from gatewayd.exchange import Exchange
    from gatewayd.filter import Filter
    from gatewayd.generation import Generation
    from gatewayd.observation import Visit
    from gatewayd.routing.table import Verdict

MAX_CANDIDATES = 50
"""Routes that a record tells of; those that fail at nothing or at least match the path first."""


def explain_exchange(generation: Generation, exchange: Exchange) -> dict[str, Any]:
    """Return the record of an exchange, as far as it has come.

    Args:
        generation: What it runs in.
        exchange: It carries an observation, or the record tells of no filters.

    """
    request, route, service = exchange.request, exchange.route, exchange.service
    loaded = generation.loaded
    observation = exchange.observation
    # As it came: filters may have taken away what it was matched by.
    asked = request if observation is None or observation.asked is None else observation.asked
    method = asked.method
    if exchange.preflight:
        method = asked.headers.get("Access-Control-Request-Method") or method
    verdicts = generation.routes.explain(
        method, asked.path, host=asked.host, headers=asked.headers, query=asked.query
    )
    record: dict[str, Any] = {
        "id": exchange.id,
        "trace_id": get_trace_id(exchange),
        "generation": generation.number,
        "request": {
            "method": request.method,
            "path": asked.path,
            "host": request.host,
            "client": request.peer.address,
        },
        "route": None,
        "service": None if service is None else service.name,
        "candidates": [describe_verdict(one, route, loaded) for one in _nearest(verdicts)],
        "filters": _filters(generation, exchange),
        "refusal": None,
    }
    if route is not None:
        record["route"] = {
            "name": route.name,
            "place": place(loaded, path_of(route)),
            "params": dict(exchange.params),
        }
    if exchange.refusal is not None:
        reject = exchange.refusal
        record["refusal"] = {
            "status": reject.status, "code": reject.code, "detail": reject.detail,
        }  # fmt: skip
    return record


def _nearest(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the routes that came nearest to taking the request."""
    ranks = {"": 0, "method": 1, "host": 3, "path": 4}
    ranked = sorted(verdicts, key=lambda one: ranks.get(one.failed, 2) - one.chosen)
    return ranked[:MAX_CANDIDATES]


def _filters(generation: Generation, exchange: Exchange) -> list[dict[str, Any]]:
    observation = exchange.observation
    if observation is None:
        return []
    steps = {id(step.filter): step for step in _steps(generation, exchange)}
    return [_visit(generation, one, steps.get(id(one.filter))) for one in observation.visits]


def _steps(generation: Generation, exchange: Exchange) -> Iterable[Step]:
    pipeline = generation.pipeline
    yield from pipeline.entry.steps
    if exchange.route is not None and exchange.service is not None:
        chain = pipeline.chains.get((exchange.route.name, exchange.service.name))
        yield from chain.steps if chain else ()


def _visit(generation: Generation, visit: Visit, step: Step | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "filter": visit.filter.name,
        "decision": visit.decision,
        "loop_us": round(visit.loop_seconds * 1e6, 1),
        "wait_us": round(visit.wait_seconds * 1e6, 1),
        "place": _place(generation, step),
    }
    optional = {
        "status": visit.status,
        "code": visit.code,
        "reason": visit.reason,
        "instance": visit.instance if _chooses(visit.filter) else "",
        "request_headers": visit.request_changes,
        "response_headers": visit.response_changes,
    }
    return told | {name: value for name, value in optional.items() if value}


def _place(generation: Generation, step: Step | None) -> str:
    """Return the most specific place that says something of a filter; empty for its defaults."""
    if step is None or not step.settings.origins:
        return ""
    return place(generation.loaded, step.settings.path)


def _chooses(one: Filter[Any]) -> bool:
    return one.terminal or "instance" in one.provides
