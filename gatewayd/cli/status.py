"""``gatewayd status``: what runs."""

from __future__ import annotations

from typing import Any

from gatewayd.admin.client import AdminClient
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json, print_table
from gatewayd.config.load import load

_WORKERS = ("worker", "pid", "uptime", "generation", "in flight", "connections", "state")
_SERVICES = ("service", "instance", "available", "active", "state")


def status(
    *, config: ConfigOption = DEFAULT_CONFIG, env: EnvOption = None, json: JsonOption = False
) -> None:
    """Print the state of the node, its workers, and the instances of its services."""
    client = AdminClient(load(config, env=env).config)
    node = client.ask("GET", "/v1/status")
    if json:
        _print_for_programs(client, node)
        return
    print(f"gatewayd {node['version']}, pid {node['pid']}, up {_duration(node['uptime'])}")
    print(f"configuration {node['files'][0]}, digest {node['digest'][:12]}\n")
    print_table(_WORKERS, [_worker(one) for one in node["workers"]])
    print()
    services = client.ask("GET", "/v1/services")  # not before: it fails where no worker answers
    print_table(_SERVICES, [_instance(one, it) for one in services for it in one["instances"]])


def _print_for_programs(client: AdminClient, node: dict[str, Any]) -> None:
    services = None
    try:
        services = client.ask("GET", "/v1/services")
    finally:  # where no worker answers, it is the node that one wants to see
        print_json({"node": node, "services": services})


def _worker(one: dict[str, Any]) -> list[str]:
    state = one["error"] or ("draining" if one["draining"] else "serving")
    if one["retiring"]:
        state += f", {one['retiring']} generations retire"
    numbers = one["generation"], one["in_flight"], one["connections"]
    return [
        str(one["worker"]),
        str(one["pid"]),
        _duration(one["uptime"]),
        *map(str, numbers),
        state,
    ]


def _instance(service: dict[str, Any], one: dict[str, Any]) -> list[str]:
    state = "up"
    if not one["healthy"] or not one["weight"]:
        state = "taken out"
    elif not one["checked"]:
        state = "fails its checks"
    elif one["ejected_for"]:
        state = f"ejected for {one['ejected_for']:.0f} s"
    available = f"{one['available']}/{service['workers']}"
    return [service["name"], one["url"], available, str(one["active"]), state]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s" if minutes else f"{rest}s"
