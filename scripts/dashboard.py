"""Write deploy/grafana/gatewayd.json: the dashboard, from the table of panels below.

A test checks that the file is what this makes, and that gatewayd has every metric in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_INSTANCES = 'instance=~"$instance"'
_WINDOW = "[$__rate_interval]"


def _rate(metric: str, by: str = "", where: str = "", function: str = "rate") -> str:
    """Return the query for the growth of a counter, summed by labels."""
    selector = ",".join(filter(None, (_INSTANCES, where)))
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} ({function}({metric}{{{selector}}}{_WINDOW}))"


def _grown(metric: str, by: str = "", where: str = "") -> str:
    return _rate(metric, by, where, "increase")


def _gauge(metric: str, by: str = "", function: str = "sum") -> str:
    grouped = f" by ({by})" if by else ""
    return f"{function}{grouped} ({metric}{{{_INSTANCES}}})"


def _quantile(share: float, metric: str, by: str = "le") -> str:
    return f"histogram_quantile({share}, {_rate(metric + '_bucket', by)})"


def _mean(sum_of: str) -> str:
    return f"{_rate(sum_of, 'filter')} / {_rate('gatewayd_filter_runs_total', 'filter')}"


# Title, unit, and for each line its query and its name.
PANELS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("Requests", "reqps", [(_rate("gatewayd_requests_total", "route"), "{{route}}")]),
    ("Errors", "reqps", [
        (_rate("gatewayd_requests_total", "route, code", 'code=~"5.."'), "{{route}} {{code}}"),
    ]),
    ("Refusals by code", "reqps", [(_rate("gatewayd_refusals_total", "code"), "{{code}}")]),
    ("Time of requests", "s", [
        (_quantile(share, "gatewayd_request_seconds"), f"p{int(share * 100)}")
        for share in (0.5, 0.9, 0.99)
    ]),
    ("Time of attempts, p99", "s", [
        (_quantile(0.99, "gatewayd_upstream_seconds", "service, le"), "{{service}}"),
    ]),
    ("Retries", "reqps", [(_rate("gatewayd_retries_total", "service"), "{{service}}")]),
    ("In flight, connections", "short", [
        (_gauge("gatewayd_exchanges_in_flight"), "exchanges"),
        (_gauge("gatewayd_client_connections"), "client connections"),
    ]),
    ("Upstream connections", "short", [
        (_gauge("gatewayd_upstream_connections", "service, state"), "{{service}} {{state}}"),
        (_gauge("gatewayd_upstream_pending", "service"), "{{service}} waiting"),
    ]),
    ("Available instances", "short", [
        (_gauge("gatewayd_instance_available", "service"), "{{service}}"),
    ]),
    ("Breakers (2 is open)", "short", [
        (_gauge("gatewayd_breaker_state", "service, target", "max"), "{{service}} {{target}}"),
    ]),
    ("Rate limits: refused", "reqps", [
        (_rate("gatewayd_rate_limit_refused_total", "limit"), "{{limit}}"),
    ]),
    ("Authentications", "reqps", [
        (_rate("gatewayd_authentications_total", "method, result"), "{{method}} {{result}}"),
    ]),
    ("Filters: loop time of a run", "s", [
        (_mean("gatewayd_filter_loop_seconds_total"), "{{filter}}"),
    ]),
    ("Filters: waiting time of a run", "s", [
        (_mean("gatewayd_filter_wait_seconds_total"), "{{filter}}"),
    ]),
    ("Event loop: lag p99, stalls", "s", [
        (_quantile(0.99, "gatewayd_event_loop_lag_seconds"), "lag p99"),
        (_grown("gatewayd_event_loop_stalls_total", "filter"), "stalls in {{filter}}"),
    ]),
    ("CPU and memory of workers", "short", [
        (_rate("gatewayd_worker_cpu_seconds_total", "instance"), "{{instance}} CPU"),
        (_gauge("gatewayd_worker_resident_memory_bytes", "instance") + " / 1e9", "{{instance}} GB"),
    ]),
    ("Reloads, restarts", "short", [
        (_grown("gatewayd_reloads_total", "result"), "reload {{result}}"),
        (_grown("gatewayd_worker_restarts_total"), "worker restarts"),
    ]),
    ("Lost log lines, spans, audit events", "short", [
        (_grown("gatewayd_access_log_dropped_lines_total"), "access log"),
        (_grown("gatewayd_log_dropped_lines_total"), "log"),
        (_grown("gatewayd_spans_total", where='result="dropped"'), "spans"),
        (_grown("gatewayd_audit_events_total", where='result="dropped"'), "audit"),
    ]),
]  # fmt: skip

_WIDTH, _HEIGHT = 8, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "title": "gatewayd",
        "uid": "gatewayd",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "instance",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": "label_values(gatewayd_generation, instance)",
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                },
            ]
        },
        "panels": [_panel(index, *panel) for index, panel in enumerate(PANELS)],
    }


def _panel(index: int, title: str, unit: str, lines: list[tuple[str, str]]) -> dict[str, Any]:
    row, column = divmod(index, 24 // _WIDTH)
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + number), "expr": query, "legendFormat": name, "datasource": _SOURCE}
            for number, (query, name) in enumerate(lines)
        ],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
