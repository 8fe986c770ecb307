"""What every installed filter promises, third-party ones included."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gatewayd
from gatewayd import Key, Principal
from gatewayd.registry import Plugins
from gatewayd.testing import CHECKS, Subject, make_gateway, make_service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

FILTERS = Plugins().filters
BUILT_IN = [
    name for name in FILTERS.names if FILTERS.point(name).module.startswith("gatewayd_filters.")
]


SETTINGS: dict[str, dict[str, Any]] = {
    "cors": {"allow_origins": ["https://app.example.org"]},
    "headers": {"request": {"set": {"X-Route": "{route.name}"}}},
    "ip_filter": {"allow": ["192.0.2.0/24"]},
    "request_id": {"trust": "always"},
}
"""Settings that wake up filters which do little by default."""


def subject(name: str, settings: dict[str, Any]) -> Subject:
    """Return a filter with a route and a service, and what the host's own keys stand for."""
    service = make_service("origin", "http://127.0.0.1:9101")
    gateway = make_gateway(
        routes=[{"name": "all", "service": "origin"}], services={"origin": service}
    )
    values: dict[Key[Any], Any] = {
        "route": gateway.routes.routes()[0],
        "params": {},
        "principal": Principal(id="ada", method="jwt"),
        "service": service,
        "instance": service.available[0],
    }
    return Subject(FILTERS.load(name), settings, values, gateway)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    ("name", "settings"), [*((name, {}) for name in FILTERS.names), *SETTINGS.items()]
)
async def test_contract(
    name: str, settings: dict[str, Any], check: Callable[[Subject], Awaitable[None]]
) -> None:
    await check(subject(name, settings))


def sources(name: str) -> Iterator[Path]:
    """Find the source files of a built-in filter."""
    spec = find_spec(FILTERS.point(name).module)
    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)
    yield from origin.parent.glob("*.py") if origin.name == "__init__.py" else [origin]


@pytest.mark.parametrize("name", BUILT_IN)
def test_uses_only_the_public_api(name: str) -> None:
    for path in sources(name):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
                assert not any(module.split(".")[0] == "gatewayd" for module in modules), path
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gatewayd."):
                pytest.fail(f"{path.name} imports from {node.module}")
            elif isinstance(node, ast.ImportFrom) and node.module == "gatewayd":
                assert {alias.name for alias in node.names} <= set(gatewayd.__all__), path


def test_the_host_knows_no_filter() -> None:
    host = Path(gatewayd.__file__).parent
    for path in host.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                named = [node.module or ""]
            assert not any(one.startswith("gatewayd_filters") for one in named), path
