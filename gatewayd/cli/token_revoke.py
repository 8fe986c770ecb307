"""``gatewayd token revoke``: have a token refused before it expires."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from gatewayd.cli.changes import afterwards, operator, record_change
from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.config.load import load
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from gatewayd.config.schema import GatewayConfig

_STANDARD_INPUT = "-"
_TOKEN = Parameter(
    help="The token, or - to read it from standard input.", allow_leading_hyphen=True
)
_JTI = Parameter(name="--jti", help="The id of the token, where the token itself is not at hand.")
_LASTS = Parameter(
    name="--lasts",
    help="With --jti: seconds until the token has expired by itself; it is revoked for good where "
    "that is not said.",
    validator=validators.Number(gte=1),
)
_LAST_SECOND = 253_402_300_799  # of the year 9999: gateways take no token that expires later
# MySQL's and MariaDB's; SQLite takes any, and tokens are checked whatever the length.
_LIMIT = "an id (jti) may have 255 characters, or 254 where it ends with a space or a backslash"


def token_revoke(
    token: Annotated[str, _TOKEN] = _STANDARD_INPUT,
    *,
    jti: Annotated[str | None, _JTI] = None,
    lasts: Annotated[int | None, _LASTS] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    env: EnvOption = None,
) -> None:
    """Revoke one token."""
    if jti is None:
        jti, expires_at = _of_token(token)
    else:
        expires_at = _LAST_SECOND if lasts is None else time.time() + lasts
    expires_at = min(expires_at, _LAST_SECOND)
    asyncio.run(_revoke(load(config, env=env).config, jti, expires_at))
    until = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"token {jti} is revoked until {until}")


def _of_token(token: str) -> tuple[str, float]:
    import jwt

    text = (sys.stdin.read() if token == _STANDARD_INPUT else token).strip()
    try:
        claims = jwt.decode(text.removeprefix("Bearer "), options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise GatewayError(f"no token: {error}") from error
    jti, expires_at = claims.get("jti"), claims.get("exp")
    if not isinstance(jti, str) or not jti:
        raise GatewayError("the token has no id (jti), by which it could be revoked")
    if (
        isinstance(expires_at, bool)
        or not isinstance(expires_at, (int, float))
        or not expires_at >= 0  # as NaN is not, which Python reads in JSON
    ):
        raise GatewayError("the token does not expire (exp); the gateway refuses it anyway")
    return jti, expires_at


async def _revoke(config: GatewayConfig, jti: str, expires_at: float) -> None:
    from gatewayd.store.errors import StoreRefused
    from gatewayd.store.store import opened_store

    async with opened_store(config.store) as store:
        try:
            await store.revoked_tokens.add(jti, int(expires_at * 1e6))
        except StoreRefused as error:
            raise GatewayError(f"{error}; {_LIMIT}, and this one has {len(jti)}") from error
        # Those that have expired need not be remembered; a day more, for clocks that differ.
        forgetting = store.revoked_tokens.purge(int((time.time() - 86_400) * 1e6))
        await afterwards(forgetting, "expired ones are not forgotten")
    await record_change(config, "token.revoke", operator(), jti=jti)
