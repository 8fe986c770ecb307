"""Write docs/metrics.md: the metrics of a gateway in which everything that counts is turned on.

A test checks that the file is what this makes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd.admin.connections import refused_connections
from gatewayd.config.load import load
from gatewayd.generation import Generations
from gatewayd.process.notify import Notifier
from gatewayd.process.supervisor import Supervisor
from gatewayd.registry import Plugins
from gatewayd.server import Server
from gatewayd.telemetry.state import StateMetrics
from gatewayd.telemetry.watchdog import Watchdog
from gatewayd.timers import Sweeper

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayd.telemetry.metrics import Metrics

_CONFIG = """
[store]
url = "sqlite:///gatewayd.db"
[redis]
url = "redis://127.0.0.1:1/0"
[filters.access_log]
path = "access.log"
[filters.explain]
key = "a key of the documentation"
[filters.tracing]
endpoint = "http://127.0.0.1:1/v1/traces"
[filters.auth]
methods = ["jwt", "api_key"]
jwt = { algorithms = ["HS256"], secret = "0123456789abcdef0123456789abcdef" }
[filters.token_bucket]
rate = "100/second"
backend = "redis"
on_outage = "local"
cost_header = "X-Cost"
[filters.breaker]
persist = true
[pipeline]
filters = [
  "request_id", "explain", "access_log", "metrics", "tracing", "ops", "route_match", "cors",
  "ip_filter", "auth", "rbac", "token_bucket", "concurrency_limit", "body_limit", "headers",
  "retry", "balancer", "breaker", "upstream",
]
[filters.concurrency_limit]
limit = 100
[services.origin]
instances = [{ url = "http://127.0.0.1:9" }]
[[routes]]
name = "all"
service = "origin"
"""
_HEAD = """# Metrics

What `/metrics` of the admin listener shows: all workers of a node on one page, in Prometheus' text
format or, where that is asked for, in OpenMetrics. Counters go on when a worker is replaced. How to
get at them, and what to look at first: [observability.md](observability.md). From `make docs`.

Series are bounded by construction: labels are names of the configuration, methods of RFC 9110,
status codes, and words of the gateway's own. A family that would still grow beyond its bound (4,096
series, less where the code says so) counts the rest under `other`.

The label `instance` is one of a service, by its address. Prometheus gives every series a label
of that name itself, for what it scraped, so there the gateway's becomes `exported_instance`. With
`honor_labels: true` it would stay `instance`, and which node a series is of would be lost: the
files in `deploy/prometheus` and `deploy/grafana` are for a Prometheus without it.

| metric | kind | labels | what |
|---|---|---|---|
"""


async def table() -> str:
    """Return the page."""
    plugins = Plugins()
    loaded = load("gateway.toml", environ={}, plugins=plugins)
    sweeper = Sweeper()
    generations = Generations(plugins, sweeper)
    state = StateMetrics(generations, Server(generations, sweeper))
    watchdog = Watchdog(generations.kept.metrics, 1.0)
    try:
        await generations.adopt(loaded)
        supervisor = Supervisor(loaded, lambda: loaded, [], Notifier({}))
        refused_connections(supervisor.metrics)
        return _HEAD + "".join(_rows((generations.kept.metrics, supervisor.metrics)))
    finally:
        await watchdog.close()
        state.close()
        await generations.close()
        sweeper.close()


def _rows(of: Iterable[Metrics]) -> list[str]:
    families = {family.name: family for metrics in of for family in metrics.read()}
    rows = []
    for name, family in sorted(families.items()):
        shown = f"{name}_total" if family.kind == "counter" else name
        labels = list(family.label_names) + ["worker"] * (family.combine == "worker")
        rows.append(f"| `{shown}` | {family.kind} | {', '.join(labels)} | {family.help} |\n")
    return rows


def main(path: Path) -> None:
    """Write the page to a file."""
    target = path.absolute()
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            Path("gateway.toml").write_text(_CONFIG, encoding="utf-8")
            target.write_text(asyncio.run(table()), encoding="utf-8")
        finally:
            os.chdir(before)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
