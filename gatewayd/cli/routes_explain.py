"""``gatewayd routes explain``: what becomes of a request, and why."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from cyclopts import Parameter

from gatewayd.cli.described_request import HEADER, METHOD, TARGET, parse_fields, parse_target
from gatewayd.cli.inspection import compiled
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json, print_table
from gatewayd.config.load import load
from gatewayd.explain.dry_run import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gatewayd.generation import Generation

_FAR = ("path", "host")
"""Of routes that fail by these there are too many to be listed."""
_ALL = Parameter(
    name="--all", negative=(), help="List all routes, also those for other hosts and paths."
)


def routes_explain(
    method: Annotated[str, METHOD],
    url: Annotated[str, TARGET],
    *,
    header: Annotated[tuple[str, ...], HEADER] = (),
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    everything: Annotated[bool, _ALL] = False,
    json: JsonOption = False,
) -> None:
    """Print the explanation of a request."""
    explanation = asyncio.run(_explain(config, env, method.upper(), url, header))
    if json:
        print_json(explanation)
    else:
        _print(explanation, everything=everything)


async def _explain(
    config: Path, env: str | None, method: str, url: str, headers: tuple[str, ...]
) -> dict[str, Any]:
    async with compiled(load(config, env=env)) as generation:
        return explain_url(generation, method, url, headers)


def explain_url(
    generation: Generation, method: str, url: str, headers: Iterable[str]
) -> dict[str, Any]:
    """Explain a request as the command line describes it; see :func:`explain`."""
    server = generation.loaded.config.server
    host, target = parse_target(url)
    fields = parse_fields(headers)
    if "host" not in {name.lower() for name, _ in fields}:
        fields.append(("Host", host or f"{server.host}:{server.port}"))
    return {"method": method, "url": url, **explain(generation, method, target, fields)}


def _print(explanation: dict[str, Any], *, everything: bool) -> None:
    print(f"{explanation['method']} {explanation['url']}")
    if "request" in explanation:
        print(f"path after normalisation: {explanation['request']['path']}")
    if explanation.get("preflight"):
        print("a CORS preflight, matched by the method that it asks about")
    if "refusal" in explanation:
        refusal = explanation["refusal"]
        print(f"refused: {refusal['status']} {refusal['code']} {refusal['detail']}".rstrip())
    else:
        print(f"route: {explanation['route']} ({explanation['place']})")
        print(f"to: {', '.join(explanation['to'])}")
        for name, value in explanation["params"].items():
            print(f"path parameter {name}: {value}")
    if "verdicts" in explanation:
        print()
        _print_verdicts(explanation["verdicts"], everything=everything)
    _print_chains(explanation.get("chains", ()))


def _print_verdicts(verdicts: list[dict[str, Any]], *, everything: bool) -> None:
    near = [one for one in verdicts if everything or one["failed"] not in _FAR]
    if near:
        print_table(("route", "verdict"), [(one["route"], one["reason"]) for one in near])
    if len(near) < len(verdicts):
        print(f"{len(verdicts) - len(near)} routes have another path or host (--all lists them)")


def _print_chains(chains: Iterable[dict[str, Any]]) -> None:
    """Print the filters; services with the same ones share a table."""
    for filters, same in groupby(chains, key=lambda chain: chain["filters"]):
        services = ", ".join(chain["service"] for chain in same if chain["service"])
        print(f"\nfilters towards {services}" if services else "\nfilters")
        print_table(("filter", "setting", "value", "from"), list(_rows(filters)))


def _rows(filters: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    for one in filters:
        name = one["filter"]
        if "removed_by" in one:
            yield name, "", "removed", _origin(one["removed_by"])
            continue
        for setting in one["settings"]:
            value = orjson.dumps(setting["value"], default=str).decode()
            yield name, setting["key"], value, _origin(setting)
            name = ""
        if not one["settings"]:
            yield name, "", "", ""


def _origin(one: dict[str, Any]) -> str:
    return f"{one['layer']} ({one['place']})" if one["place"] else str(one["layer"])
