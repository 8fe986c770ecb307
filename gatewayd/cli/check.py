"""``gatewayd check``: say whether a configuration can be used."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gatewayd.admin.tls import tls_context
from gatewayd.cli.inspection import compiled, running_filters
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import issue_json, print_json
from gatewayd.config.load import load, locate
from gatewayd.errors import ConfigError, ConfigIssue
from gatewayd.process.worker import check_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayd.config.load import LoadedConfig
    from gatewayd.generation import Generation


def check(
    *, config: ConfigOption = DEFAULT_CONFIG, env: EnvOption = None, json: JsonOption = False
) -> int:
    """Print errors and warnings; return the exit status."""
    try:
        warnings, summary = asyncio.run(_examine(config, env))
        errors: list[ConfigIssue] = []
    except ConfigError as error:
        warnings, summary, errors = [], "", error.issues
    if json:
        issues = {"errors": errors, "warnings": warnings}
        listed = {kind: [issue_json(issue) for issue in found] for kind, found in issues.items()}
        print_json({"ok": not errors, **listed})
    else:
        for issue in errors:
            print(issue, file=sys.stderr)
        for issue in warnings:
            print(f"warning: {issue}", file=sys.stderr)
        if not errors:
            print(f"{config}: ok ({summary})")
    return 1 if errors else 0


async def _examine(config: Path, env: str | None) -> tuple[list[ConfigIssue], str]:
    loaded = load(config, env=env)
    check_certificates(loaded)
    _check_admin(loaded)
    async with compiled(loaded) as generation:
        counts = {
            "routes": len(generation.routes.routes()),
            "services": len(generation.services),
            "filters": len(loaded.config.pipeline.filters),
        }
        summary = ", ".join(f"{count} {name}" for name, count in counts.items())
        warnings = [*generation.routes.warnings(), *_closed(generation)]
        return locate(warnings, loaded), summary


def _check_admin(loaded: LoadedConfig) -> None:
    """Load the admin listener's certificate, as the start of a gateway does."""
    if loaded.config.admin is not None:
        try:
            tls_context(loaded.config.admin)
        except ConfigError as error:
            raise ConfigError(locate(error.issues, loaded)) from error


def _closed(generation: Generation) -> Iterator[ConfigIssue]:
    """Yield a warning for every route that lets nobody pass because it says nothing of callers.

    None where the configuration itself says what becomes of such routes.
    """
    for route in sorted(generation.routes.routes(), key=lambda one: one.index):
        for service in route.services:
            running = running_filters(generation, route, service.name)
            if "rbac" not in running:
                continue
            rbac = running["rbac"].config
            says = rbac.required_roles is not None or rbac.required_permissions is not None
            if "auth" in running:
                says = says or running["auth"].config.required is not None
            if not says and rbac.mode == "enforce" and "default" not in rbac.model_fields_set:
                message = (
                    f"route {route.name!r} does not say who may use it "
                    "(auth_required, roles, permissions): nobody may"
                )
                yield ConfigIssue(message, key=f"routes[{route.index}]")
                break
