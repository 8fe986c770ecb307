"""Many small requests from wrk, and the check before it.

What is measured must be right: a peer has to answer with the origins' bytes and use all of them in
turn. After that wrk must not see one error.
"""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.origins import INSTANCE_HEADER, JSON_BODY, TOLD
from tests.bench.peers import needed

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECTIONS = 64
"""Keep-alive connections that wrk keeps busy."""

TIMEOUT = 60.0
"""Seconds for one answer; far above what any peer needs."""

_UNSAMPLED = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00")

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadError(Exception):
    """A peer answered wrongly, or not at all."""


@dataclass(frozen=True)
class Load:
    """What went through a peer in a while."""

    amount: float
    """Requests, or megabytes (of 10^6 bytes)."""
    seconds: float
    """Wall-clock time."""
    p99_ms: float | None = None
    """Time of the slowest of a hundred answers, in milliseconds; None for bodies."""


def small_requests(
    port: int,
    seconds: float,
    paths_file: Path | None = None,
    authorization: str | None = None,
    *,
    path: str = "/",
    headers: Sequence[str] = (),
    pause_ms: int = 0,
) -> Load:
    """Ask for small answers with wrk.

    Args:
        port: Of the proxy.
        seconds: How long.
        paths_file: One path per line, to ask for in turn; ``path`` where absent.
        authorization: The Authorization field of all requests; none where absent.
        path: Path to ask for.
        headers: Further fields of all requests, as ``Name: value``.
        pause_ms: Milliseconds that each connection waits between two requests, on average.

    Raises:
        MissingError: wrk is not installed.
        LoadError: wrk saw an error, or an answer above 399.
    """
    program = needed("wrk", "Debian package wrk")
    duration = max(1, round(seconds))  # wrk knows whole seconds only
    command = [program, "-t1", f"-c{CONNECTIONS}", f"-d{duration}s", "-s", WRK_SCRIPT]
    fields = [*([f"Authorization: {authorization}"] if authorization else []), *headers]
    command += [part for field in fields for part in ("-H", field)]
    arguments = ["--", str(paths_file or ""), str(pause_ms)] if paths_file or pause_ms else []
    done = subprocess.run(
        [*map(str, command), f"http://127.0.0.1:{port}{path}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=duration + TIMEOUT,
    )
    found = re.search(r"^REPORT (.*)$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise LoadError(f"wrk failed: {done.stdout}{done.stderr}")
    report = json.loads(found[1])
    if report["errors"] or not report["requests"]:
        raise LoadError(f"wrk saw errors: {found[1]}")
    return Load(report["requests"], report["seconds"], report["p99_ms"])


def check_small_requests(
    port: int, origins: Sequence[int], path: str = "/", authorization: str | None = None
) -> None:
    """Ask on one connection, twice for each origin: every answer right, every origin used.

    Raises:
        LoadError: An answer differs from the origin's, or an origin was passed over.
    """
    seen = set()
    headers = {"Authorization": authorization} if authorization else {}
    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        for _ in range(2 * len(origins)):
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                body = response.read()
            except (OSError, HTTPException) as error:
                raise LoadError(f"no answer for {path}: {error!r}") from error
            if response.status != 200 or body != JSON_BODY.encode():
                raise LoadError(f"answered {path} with {response.status} {body[:200]!r}")
            seen.add(response.headers[INSTANCE_HEADER])
    if seen != {str(origin) for origin in origins}:
        raise LoadError(f"used the origins {sorted(seen)} of {origins}")


def check_told(port: int, path: str, authorization: str) -> None:
    """Ask what the instance is told, and look at what the client is.

    Raises:
        LoadError: The instance got no trace context, or the client no request id, or nothing of
            what is left of its rate limit.
    """
    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        connection.request("GET", path + TOLD, headers={"Authorization": authorization})
        response = connection.getresponse()
        context = response.read()
    if not _UNSAMPLED.fullmatch(context):
        raise LoadError(f"told the instance {context[:200]!r} in place of a trace context")
    for name in ("X-Request-Id", "X-RateLimit-Remaining"):
        if not response.headers[name]:
            raise LoadError(f"told the client no {name}")


def check_refused(port: int, path: str) -> None:
    """Ask without any credential.

    Raises:
        LoadError: The answer was none of 401 and 403.
    """
    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        connection.request("GET", path)
        status = connection.getresponse().status
    if status not in (401, 403):
        raise LoadError(f"answered {path} without a credential with {status}")
