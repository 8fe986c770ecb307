"""``gatewayd rbac explain``: who may send a request, and which rule says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gatewayd.cli.described_request import HEADER, METHOD, TARGET
from gatewayd.cli.inspection import compiled, running_filters
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import print_json
from gatewayd.cli.routes_explain import explain_url
from gatewayd.config.load import load
from gatewayd.errors import GatewayError
from gatewayd.explain.routes import place
from gatewayd.layers import layers_of
from gatewayd.principal import Principal

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.generation import Generation
    from gatewayd.routing.route import Route

_PRINCIPAL = Parameter(name="--principal", help="Id of the caller; anonymous where absent.")
_ROLE = Parameter(name="--role", help="Role of the caller; repeatable.")
_PERMISSION = Parameter(name="--permission", help="Permission of its own; repeatable.")
_SCOPE = Parameter(name="--scope", help="Scope; repeatable.")


def rbac_explain(
    method: Annotated[str, METHOD],
    url: Annotated[str, TARGET],
    *,
    principal: Annotated[str | None, _PRINCIPAL] = None,
    role: Annotated[list[str] | None, _ROLE] = None,
    permission: Annotated[list[str] | None, _PERMISSION] = None,
    scope: Annotated[list[str] | None, _SCOPE] = None,
    header: Annotated[tuple[str, ...], HEADER] = (),
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
    json: JsonOption = False,
) -> int:
    """Print the decision; the exit status is 1 for one that refuses."""
    caller = None
    if principal is not None or role or permission or scope:
        caller = Principal(
            id=principal or "caller",
            method="explain",
            roles=frozenset(role or ()),
            permissions=frozenset(permission or ()),
            scopes=frozenset(scope or ()),
        )
    found = asyncio.run(_explain(config, env, method.upper(), url, header, caller))
    if json:
        print_json(found)
    else:
        print(f"route: {found['route']} ({found['place']})")
        for one in found["roles"]:
            print(f"role {one['role']}: {one['place'] or 'not defined'}")
        for chain in found["decisions"]:
            verdict = "allowed" if chain["allowed"] else "denied"
            print(f"service {chain['service']}: {verdict}: {chain['rule']}")
            for one in chain["requirements"]:
                print(f"  {one['key']} = {one['value']} ({one['place']})")
    return 0 if all(chain["allowed"] for chain in found["decisions"]) else 1


async def _explain(
    config: Path,
    env: str | None,
    method: str,
    url: str,
    headers: tuple[str, ...],
    caller: Principal | None,
) -> dict[str, Any]:
    loaded = load(config, env=env)
    async with compiled(loaded) as generation:
        name = explain_url(generation, method, url, headers).get("route")
        route = next((one for one in generation.routes.routes() if one.name == name), None)
        if route is None:
            raise GatewayError(f"no route takes {method} {url}; see gatewayd routes explain")
        if not route.services:
            raise GatewayError(f"the route {name!r} is a redirect, which is open to everybody")
        return {
            "route": route.name,
            "place": place(loaded, ("routes", route.index)),
            "roles": _roles(generation, route, caller),
            "decisions": [
                _decide(generation, route, service.name, caller) for service in route.services
            ],
        }


def _decide(
    generation: Generation, route: Route, service: str, caller: Principal | None
) -> dict[str, Any]:
    running = running_filters(generation, route, service)
    required = running["auth"].config.required if "auth" in running else False
    if "auth" in running and caller is None and required is not False:
        allowed, rule = False, "not authenticated; the route does not say auth_required = false"
    elif "rbac" in running:
        decision = running["rbac"].decide(caller, required)  # type: ignore[attr-defined]
        allowed, rule = decision.allowed, decision.rule
    else:
        allowed, rule = True, "no filter rbac is on the way"
    return {
        "service": service,
        "allowed": allowed,
        "rule": rule,
        "requirements": _requirements(generation, route, service),
    }


def _roles(generation: Generation, route: Route, caller: Principal | None) -> list[dict[str, str]]:
    """Return the roles of a caller, those that they inherit as well, with where they stand."""
    loaded = generation.loaded
    steps = generation.pipeline.chains[route.name, route.services[0].name].steps
    step = next((one for one in steps if one.filter.name == "rbac"), None)
    if step is None or caller is None:
        return []
    layer = step.settings.origins.get("roles", ())
    known = step.filter.config.roles
    waiting = sorted(caller.roles)
    found: list[dict[str, str]] = []
    while waiting:
        name = waiting.pop(0)
        if name in {one["role"] for one in found}:
            continue
        where = place(loaded, (*layer, "roles", name)) if name in known else ""
        found.append({"role": name, "place": where})
        waiting += getattr(known.get(name), "inherits", ())
    return found


def _requirements(generation: Generation, route: Route, service: str) -> list[dict[str, Any]]:
    """Return what the configuration says of access to a route, with where it says so."""
    loaded = generation.loaded
    found = []
    for name in ("auth", "rbac"):
        for layer in layers_of(loaded.config, name, route=route.index, service=service):
            for key, value in layer.value.items() if isinstance(layer.value, dict) else ():
                if key in ("required", "required_roles", "required_permissions", "default"):
                    path = (*layer.path, key)
                    shown = loaded.redact(value, path)
                    found.append({"key": key, "value": shown, "place": place(loaded, path)})
    return found
