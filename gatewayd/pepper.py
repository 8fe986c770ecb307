"""The pepper: the secret that API keys are hashed with, beside the database and not in it.

Whoever steals the database alone has hashes that cannot be tried, and whoever can write to it alone
cannot make a key. An installation with the embedded database has its pepper in a file, made with
the first key; nodes that share a database share a pepper, which their configuration names.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from typing import TYPE_CHECKING

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.store.store import Store

MIN_CHARACTERS, MIN_DISTINCT = 32, 8
"""What a pepper has at least: 16 random bytes in hexadecimal are as strong as AES-128, and one
character repeated is no secret."""
_MAX_BYTES = 4096


def is_embedded(store: Store) -> bool:
    """Whether the store is this installation's only, so that its pepper may be as well."""
    return store.config.url.startswith("sqlite:")


def check_pepper(pepper: str) -> str:
    """Return a pepper that is good enough.

    Raises:
        ValueError: it is too short or too plain; the text does not show it.

    """
    if len(pepper) < MIN_CHARACTERS or len(set(pepper)) < MIN_DISTINCT:
        raise ValueError(f"expected {MIN_CHARACTERS} or more random characters")
    return pepper


def read_pepper(file: Path) -> str | None:
    """Return the pepper of an installation, ``None`` where none was made yet.

    Raises:
        GatewayError: the file cannot be read, others than its owner can, or it holds no pepper.

    """
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise GatewayError(f"the pepper {file} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise GatewayError(f"the pepper {file} must be its owner's only: chmod 600 {file}")
    try:
        return check_pepper(content.decode("ascii").strip())
    except ValueError as error:
        raise GatewayError(f"the file {file} holds no pepper of gatewayd's making") from error


def read_or_make_pepper(file: Path) -> str:
    """Return the pepper of an installation, made where there is none; of two makers one wins.

    Raises:
        GatewayError: as :func:`read_pepper`, or the file cannot be written.

    """
    found = read_pepper(file)
    if found is not None:
        return found
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Linked when it is complete, so that nobody reads half of it, and never over another.
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.") as fresh:
            fresh.write(secrets.token_hex(32) + "\n")
            fresh.flush()
            os.fsync(fresh.fileno())
            with contextlib.suppress(FileExistsError):  # somebody else's, which counts
                os.link(fresh.name, file)
    except OSError as error:
        raise GatewayError(f"the pepper {file} cannot be made: {error.strerror}") from error
    made = read_pepper(file)
    assert made is not None  # noqa: S101  # it is there now, whoever made it
    return made
