"""``gatewayd explain request`` and ``show``: what became of one exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from gatewayd.admin.client import AdminClient
from gatewayd.cli.described_request import HEADER, METHOD, TARGET, parse_fields, parse_target
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json, print_table
from gatewayd.config.load import load
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable

_COLUMNS = ("filter", "decision", "loop us", "wait us", "what", "place")
_ID = Parameter(help="Request id, as X-Request-Id and problem documents have it.")


def explain_request(
    method: Annotated[str, METHOD],
    url: Annotated[str, TARGET],
    *,
    header: Annotated[tuple[str, ...], HEADER] = (),
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    json: JsonOption = False,
) -> None:
    """Send the request and print the record of its exchange."""
    client = AdminClient(load(config, env=env).config)
    host, target = parse_target(url)
    fields = _by_name(header)
    given = fields.pop("host", ("Host", host or "localhost"))
    body = {
        "method": method.upper(),
        "target": target,
        "host": given[1],
        "headers": dict(fields.values()),
        "send": True,
    }
    _show(client.ask("POST", "/v1/explain", body)["explanation"], json=json)


def _by_name(header: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return fields by their names in lower case; the admin API takes one of each name."""
    fields: dict[str, tuple[str, str]] = {}
    for name, value in parse_fields(header):
        if name.lower() in fields:
            raise GatewayError(f"the header field {name} is given twice")
        fields[name.lower()] = name, value
    return fields


def explain_show(
    id: Annotated[str, _ID],  # noqa: A002  # what the command line calls it
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    json: JsonOption = False,
) -> None:
    """Print the record of an exchange that was explained a while ago."""
    client = AdminClient(load(config, env=env).config)
    path = f"/v1/explain/{quote(id, safe='')}"
    _show(client.ask("GET", path)["explanation"], json=json)


def _show(record: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(record)
        return
    if refusal := record.get("refusal"):
        print(f"refused: {refusal['status']} {refusal['code']}: {refusal['detail']}")
    elif response := record.get("response"):
        print(f"answered: {response['status']}")
    if route := record.get("route"):
        print(f"route: {route['name']} ({route['place']}), service {record['service']}")
    for one in record.get("candidates", ()):
        print(f"  {one['route']}: {one['reason']}")
    if filters := record.get("filters"):
        print()
        print_table(_COLUMNS, [_row(one) for one in filters])


def _row(one: dict[str, Any]) -> list[str]:
    what = [str(one[key]) for key in ("status", "code", "reason", "instance") if key in one]
    for key, shown in (("request_headers", "request"), ("response_headers", "response")):
        if one.get(key):
            what.append(f"{shown}: {' '.join(one[key])}")
    times = one["loop_us"], one["wait_us"]
    return [one["filter"], one["decision"], *map(str, times), " ".join(what), one["place"]]
