"""``gatewayd token mint``: make a token, for development."""

from __future__ import annotations

import json as json_text
import os
import sys
import time
from pathlib import Path  # noqa: TC003  # for cyclopts
from typing import Annotated, Any

from cyclopts import Parameter

from gatewayd.cli.options import JsonOption  # noqa: TC001  # for cyclopts
from gatewayd.cli.output import print_json
from gatewayd.crypto import load_private_key
from gatewayd.errors import GatewayError

SECRET_VARIABLE = "TOKEN_SECRET"  # noqa: S105  # the name of a variable
PASSPHRASE_VARIABLE = "KEY_PASSPHRASE"  # noqa: S105
_HASH_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}

_ALGORITHM = Parameter(name="--alg", help="Algorithm, such as HS256, RS256, ES256, EdDSA.")
_KEY = Parameter(
    name="--key",
    help=f"PEM file of the private key; its passphrase, if any, is in ${PASSPHRASE_VARIABLE}.",
)
_SECRET = Parameter(
    name="--secret-file",
    help=f"File with the shared secret; else it is in ${SECRET_VARIABLE}. It is no option, as "
    "everybody on the machine can read those.",
)
_TTL = Parameter(help="Seconds for which it counts.")
_CLAIM = Parameter(name="--claim", help="Further claim, NAME=VALUE; a value may be JSON.")


def token_mint(
    *,
    sub: Annotated[str, Parameter(help="Whom it names.")],
    alg: Annotated[str, _ALGORITHM] = "HS256",
    key: Annotated[Path | None, _KEY] = None,
    secret_file: Annotated[Path | None, _SECRET] = None,
    ttl: Annotated[int, _TTL] = 3600,
    issuer: Annotated[str | None, Parameter(help="Claim iss.")] = None,
    audience: Annotated[str | None, Parameter(help="Claim aud.")] = None,
    role: Annotated[list[str] | None, Parameter(name="--role", help="Role; repeatable.")] = None,
    scope: Annotated[str | None, Parameter(help="Scopes, with spaces between them.")] = None,
    kid: Annotated[str | None, Parameter(help="Name of the key, for the header.")] = None,
    claim: Annotated[list[str] | None, _CLAIM] = None,
    json: JsonOption = False,
) -> None:
    """Print a token."""
    import jwt

    now = int(time.time())
    claims: dict[str, Any] = {"sub": sub, "iat": now, "exp": now + ttl}
    given = {"iss": issuer, "aud": audience, "roles": role, "scope": scope}
    claims |= {name: value for name, value in given.items() if value is not None}
    claims |= dict(map(_parse, claim or ()))
    material = _material(alg, key, secret_file)
    if isinstance(material, str):
        _check_length(alg, material)
    try:
        token = jwt.encode(claims, material, alg, headers={"kid": kid} if kid else None)
    except (jwt.PyJWTError, NotImplementedError, TypeError, ValueError) as error:
        raise GatewayError(f"no {alg} token can be made with this key: {error}") from error
    print("for development: identity providers make tokens for production", file=sys.stderr)
    if json:
        print_json({"token": token, "claims": claims})
    else:
        print(token)


def _material(alg: str, key: Path | None, secret_file: Path | None) -> Any:
    try:
        if key is not None:
            return load_private_key(key, os.environ.get(PASSPHRASE_VARIABLE) or None)
        if not alg.startswith("HS"):
            raise GatewayError(f"{alg} needs --key")
        if secret_file is not None:
            return secret_file.read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise GatewayError(f"the key cannot be read: {error}") from error
    secret = os.environ.get(SECRET_VARIABLE)
    if not secret:
        raise GatewayError(f"{alg} needs a secret: set {SECRET_VARIABLE}, or give --secret-file")
    return secret


def _check_length(alg: str, secret: str) -> None:
    """Refuse a secret that a gateway would refuse, too (RFC 7518 section 3.2)."""
    needed = _HASH_BYTES.get(alg, 0)
    if len(secret.encode()) < needed:
        raise GatewayError(f"{alg} needs a secret of {needed} bytes or more")


def _parse(text: str) -> tuple[str, Any]:
    name, mark, value = text.partition("=")
    if not name or not mark:
        raise GatewayError(f"--claim {text!r}: expected NAME=VALUE")
    try:
        return name, json_text.loads(value)
    except ValueError:
        return name, value
