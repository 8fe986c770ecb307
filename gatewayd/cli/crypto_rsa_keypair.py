"""``gatewayd crypto rsa-keypair``: make a pair of RSA keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from gatewayd.cli.options import JsonOption  # noqa: TC001  # for cyclopts
from gatewayd.cli.output import print_json
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
    json: JsonOption = False,
) -> None:
    """Write a private and a public key."""
    if not out.name:
        raise GatewayError(f"--out {out}: expected the name of a file")
    files = {
        "private_key": out.with_name(f"{out.name}.pem"),
        "public_key": out.with_name(f"{out.name}.pub.pem"),
    }
    for file in files.values():
        if file.exists():
            raise GatewayError(f"{file} is there already")
    private, public = generate_rsa_key_pair(bits, os.environ.get(PASSPHRASE_VARIABLE) or None)
    try:
        write_private_file(files["private_key"], private)
        with files["public_key"].open("xb") as stream:
            stream.write(public)
    except OSError as error:
        raise GatewayError(f"{error.filename} cannot be written: {error.strerror}") from error
    if json:
        print_json({name: str(file) for name, file in files.items()})
    else:
        print(*files.values(), sep="\n")
