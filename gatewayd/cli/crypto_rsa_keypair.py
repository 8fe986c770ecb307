"""``gatewayd crypto rsa-keypair``: make a pair of RSA keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from gatewayd.cli.token_mint import PASSPHRASE_VARIABLE
from gatewayd.crypto import MAX_RSA_BITS, MIN_RSA_BITS, generate_rsa_key_pair, write_private_file
from gatewayd.errors import GatewayError

_OUT = Parameter(
    help="Name of the files without ending: NAME.pem is the private key, readable for you only, "
    "and NAME.pub.pem the public one. Neither is ever replaced."
)
_BITS = Parameter(help="Length.", validator=validators.Number(gte=MIN_RSA_BITS, lte=MAX_RSA_BITS))


def crypto_rsa_keypair(
    *,
    out: Annotated[Path, _OUT] = Path("jwt"),
    bits: Annotated[int, _BITS] = 3072,
) -> None:
    """Write a private and a public key."""
    private, public = generate_rsa_key_pair(bits, os.environ.get(PASSPHRASE_VARIABLE) or None)
    files = {
        out.with_name(f"{out.name}.pem"): private,
        out.with_name(f"{out.name}.pub.pem"): public,
    }
    for file in files:
        if file.exists():
            raise GatewayError(f"{file} is there already")
    for file, content in files.items():
        try:
            write_private_file(file, content)
        except OSError as error:
            raise GatewayError(f"{file} cannot be written: {error.strerror}") from error
        print(file)
