"""Big bodies in both directions, one after another on one connection, and the check before it."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Protocol

from tests.bench.load import TIMEOUT, Load, LoadError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCK_BYTES = 1_000_000
"""Bytes that the client reads or writes at once."""


class Digest(Protocol):
    """What hashlib's objects have in common."""

    def update(self, data: memoryview, /) -> None:
        """Take in more bytes."""


def download(port: int, seconds: float, body: Path) -> Load:
    """Fetch the body again and again for at least this time.

    Raises:
        LoadError: An answer failed or had another length.
    """
    return _repeat(lambda connection: _get(connection, body), port, seconds, body)


def upload(port: int, seconds: float, body: Path) -> Load:
    """Send the body again and again for at least this time.

    Raises:
        LoadError: An answer failed.
    """
    return _repeat(lambda connection: _put(connection, "/counted", body), port, seconds, body)


def check_bodies(port: int, body: Path, sha256: str) -> None:
    """Fetch and send the body once and compare the checksums of what arrived.

    Raises:
        LoadError: A checksum differs, or there was no answer.
    """
    digest = hashlib.sha256()
    with closing(_connect(port)) as connection:
        _get(connection, body, digest)
        sent = json.loads(_put(connection, "/checked", body))["sha256"]
    if digest.hexdigest() != sha256:
        raise LoadError("the body fetched differs from the origin's")
    if sent != sha256:
        raise LoadError("the origin read another body than was sent")


def _connect(port: int) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", port, timeout=TIMEOUT, blocksize=BLOCK_BYTES)


def _repeat(
    transfer: Callable[[HTTPConnection], object], port: int, seconds: float, body: Path
) -> Load:
    count = 0
    start = time.perf_counter()
    with closing(_connect(port)) as connection:
        while count == 0 or time.perf_counter() < start + seconds:
            transfer(connection)
            count += 1
    return Load(count * body.stat().st_size / 1e6, time.perf_counter() - start)


def _get(connection: HTTPConnection, body: Path, digest: Digest | None = None) -> None:
    buffer = memoryview(bytearray(BLOCK_BYTES))
    received = 0
    try:
        connection.request("GET", "/body")
        response = connection.getresponse()
        while count := response.readinto(buffer):
            received += count
            if digest is not None:
                digest.update(buffer[:count])
    except (OSError, HTTPException) as error:
        raise LoadError(f"the download broke off after {received} bytes: {error!r}") from error
    if response.status != 200 or received != body.stat().st_size:
        raise LoadError(f"the download ended with {response.status} and {received} bytes")


def _put(connection: HTTPConnection, path: str, body: Path) -> bytes:
    length = str(body.stat().st_size)
    try:
        with body.open("rb") as content:
            connection.request("PUT", path, content, {"Content-Length": length})
            response = connection.getresponse()
            answer = response.read()
    except (OSError, HTTPException) as error:
        raise LoadError(f"the upload broke off: {error!r}") from error
    if response.status != 200:
        raise LoadError(f"the upload was answered with {response.status} {answer[:200]!r}")
    return answer
