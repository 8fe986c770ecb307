"""``gatewayd check``: say whether a configuration can be used."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gatewayd.cli.inspection import compiled
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption, JsonOption
from gatewayd.cli.output import issue_json, print_json
from gatewayd.config.load import load, locate
from gatewayd.errors import ConfigError
from gatewayd.process.worker import check_certificates

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.errors import ConfigIssue


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
    async with compiled(loaded) as generation:
        counts = {
            "routes": len(generation.routes.routes()),
            "services": len(generation.services),
            "filters": len(loaded.config.pipeline.filters),
        }
        summary = ", ".join(f"{count} {name}" for name, count in counts.items())
        return locate(generation.routes.warnings(), loaded), summary
