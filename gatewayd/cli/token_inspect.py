"""``gatewayd token inspect``: show what a token says, and whether a gateway would believe it."""

from __future__ import annotations

import asyncio
import json as json_text
import sys
import time
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003  # for cyclopts
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import ValidationError

from gatewayd.authentication import AuthUnavailable, InvalidCredential
from gatewayd.cli.inspection import compiled
from gatewayd.cli.options import EnvOption, JsonOption  # noqa: TC001  # for cyclopts
from gatewayd.cli.output import print_json
from gatewayd.config.load import load
from gatewayd.errors import GatewayError
from gatewayd.exchange import Exchange, Request

_TOKEN = Parameter(
    help="The token, or - to read it from standard input.", allow_leading_hyphen=True
)
_CONFIG = Parameter(
    name=["--config", "-c"],
    help="Verify it as the gateway with this configuration would; keys are fetched for it.",
)
_STANDARD_INPUT = "-"
_MOMENTS = ("exp", "nbf", "iat")


def token_inspect(
    token: Annotated[str, _TOKEN] = _STANDARD_INPUT,
    *,
    config: Annotated[Path | None, _CONFIG] = None,
    env: EnvOption = None,
    json: JsonOption = False,
) -> int:
    """Print a token's parts; the exit status is 1 for one that would be refused."""
    import jwt

    text = (sys.stdin.read() if token == _STANDARD_INPUT else token).strip().removeprefix("Bearer ")
    try:
        parts = jwt.decode_complete(text, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise GatewayError(f"no token: {error}") from error
    shown: dict[str, Any] = {
        "header": parts["header"],
        "claims": parts["payload"],
        "moments": _moments(parts["payload"]),
    }
    if config is not None:
        shown["verdict"] = asyncio.run(_verdict(text.encode(), config, env))
    else:
        shown["verdict"] = _verdict_without_keys(parts["header"], parts["payload"])
    if json:
        print_json(shown)
    else:
        for title, part in shown.items():
            print(f"{title}:" if isinstance(part, dict) else f"{title}: {part}")
            for name, value in part.items() if isinstance(part, dict) else ():
                print(f"  {_printable(name)}: {_printable(value)}")
    return 1 if shown["verdict"].startswith(("refused", "cannot")) else 0


def _printable(value: object) -> str:
    """Return a text that does nothing to a terminal: whoever made the token chose it."""
    text = str(value)
    return text if text.isprintable() else json_text.dumps(text)


def _verdict_without_keys(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Tell what any gateway would refuse, whatever its keys are."""
    now = time.time()
    wrong = []
    if str(header.get("alg")).lower() == "none":
        wrong.append("it is not signed (alg none)")
    if "crit" in header:
        wrong.append("it has critical headers (crit)")
    if "exp" not in claims:
        wrong.append("it never expires (no exp)")
    for name in _MOMENTS:
        if name in claims and not _is_moment(claims[name]):
            wrong.append(f"{name} is no time")
        elif name in claims and (claims[name] <= now) == (name == "exp"):
            wrong.append("it has expired" if name == "exp" else f"{name} is in the future")
    return f"refused: {', '.join(wrong)}" if wrong else "not verified (give -c CONFIG)"


def _is_moment(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < 253_402_300_800  # type: ignore[operator]  # a number


def _moments(claims: dict[str, Any]) -> dict[str, str]:
    """Return when it was made and counts, for people."""
    now = time.time()
    moments = {}
    for name in _MOMENTS:
        value: Any = claims.get(name)
        if _is_moment(value):
            date = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            distance = "ago" if value <= now else "from now"
            moments[name] = f"{date}, {abs(value - now):.0f} s {distance}"
    return moments


async def _verdict(token: bytes, config: Path, env: str | None) -> str:
    loaded = load(config, env=env)
    settings = loaded.config.filters.get("auth", {}).get("jwt")
    if settings is None:
        raise GatewayError(f"{config} has no filters.auth.jwt")
    plugin = loaded.plugins.authentication.load("jwt")
    async with compiled(loaded) as generation:
        try:
            method = plugin(plugin.Config.model_validate(settings), generation.gateway)
        except ValidationError as error:
            keys = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            raise GatewayError(f"filters.auth.jwt cannot be used: {keys}") from None
        try:
            await method.start()
            principal = await method.verify(token, Exchange(Request("GET", "/"), 0.0))
        except InvalidCredential as why:
            return f"refused: {why.reason}"
        except AuthUnavailable as why:
            return f"cannot be judged: {why}"
        finally:
            await method.close()
        return f"accepted: {principal.id}, roles {', '.join(sorted(principal.roles)) or 'none'}"
