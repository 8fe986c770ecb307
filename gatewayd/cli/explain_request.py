"""``gatewayd explain request`` and ``show``: what became of one exchange."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from gatewayd.admin.client import AdminClient
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json, print_table
from gatewayd.cli.routes_explain import HEADER, METHOD, TARGET
from gatewayd.config.load import load

_URL = re.compile(r"(?:https?://(?P<host>[^/?#]+))?(?P<target>[^#]*)")
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
    parts = _URL.match(url)
    assert parts is not None  # noqa: S101  # it matches anything
    headers = {name: value.strip() for name, _, value in (one.partition(":") for one in header)}
    host = headers.pop("Host", None) or headers.pop("host", None) or parts["host"] or "localhost"
    body = {
        "method": method.upper(),
        "target": parts["target"] or "/",
        "host": host,
        "headers": headers,
        "send": True,
    }
    _show(client.ask("POST", "/v1/explain", body)["explanation"], json=json)


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
