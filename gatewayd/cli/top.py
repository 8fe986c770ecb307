"""``gatewayd top``: what routes and services have to do, in a table that is kept up to date."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Self

from cyclopts import Parameter, validators

from gatewayd.admin.client import AdminClient
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.cli.output import print_table
from gatewayd.config.load import load

if TYPE_CHECKING:
    from rich.console import RenderableType

_INTERVAL = Parameter(
    help="Seconds between two looks.", validator=validators.Number(gte=0.1, lte=3600)
)
_COUNT = Parameter(
    help="Number of tables, and then end; 0 for no end.", validator=validators.Number(gte=0)
)
_COLUMNS = ("kind", "name", "req/s", "4xx/s", "5xx/s", "retries/s", "mean ms")


def top(
    *,
    interval: Annotated[float, _INTERVAL] = 2.0,
    count: Annotated[int, _COUNT] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
) -> None:
    """Show rates over the last interval, the busiest first. Ends with Ctrl-C."""
    client = AdminClient(load(config, env=env).config)
    live = sys.stdout.isatty()
    before, since = client.ask("GET", "/v1/traffic"), time.monotonic()
    shown = 0
    try:
        with _Screen(live) as screen:
            while not count or shown < count:
                time.sleep(interval)
                after, now = client.ask("GET", "/v1/traffic"), time.monotonic()
                screen.show(rows_between(before, after, now - since))
                before, since = after, now
                shown += 1
    except KeyboardInterrupt:
        return


def rows_between(before: dict[str, Any], after: dict[str, Any], seconds: float) -> list[list[str]]:
    """Return a row for each route and service that had something to do between two looks."""
    rows: list[tuple[float, list[str]]] = []
    for kind, plural in (("route", "routes"), ("service", "services")):
        known = {one[kind]: one for one in before[plural]}
        for one in after[plural]:
            was = known.get(one[kind], {})
            grown = {
                key: max(0, value - was.get(key, 0)) for key, value in one.items() if key != kind
            }
            if grown["requests"]:
                rows.append((grown["requests"], _row(kind, one[kind], grown, seconds)))
    return [row for _, row in sorted(rows, key=lambda item: (item[1][0], -item[0]))]


def _row(kind: str, name: str, grown: dict[str, float], seconds: float) -> list[str]:
    def rate(key: str) -> str:
        return f"{grown[key] / seconds:.1f}" if key in grown else ""

    mean = grown["seconds"] / grown["requests"] * 1000
    rates = [rate(key) for key in ("requests", "refused", "failed", "retries")]
    return [kind, name or "(none)", *rates, f"{mean:.2f}"]


class _Screen:
    """Where tables go: one place of a terminal, or one after the other."""

    def __init__(self, live: bool) -> None:
        self._live: Any = None
        if live:
            from rich.live import Live

            self._live = Live(auto_refresh=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, rows: list[list[str]]) -> None:
        if self._live is None:
            print_table(_COLUMNS, rows)
            print(flush=True)
        else:
            self._live.update(_table(rows), refresh=True)


def _table(rows: list[list[str]]) -> RenderableType:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))  # names come from the configuration
    return table
