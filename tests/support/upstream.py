"""Attempts and pools for tests of the upstream client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gatewayd import Instance, InstanceSpec, Response
from gatewayd.body import StreamBody
from gatewayd.config.schema import ServiceConfig
from gatewayd.timers import NEVER
from gatewayd.upstream.attempt import Attempt, Timeouts
from gatewayd.upstream.head import HeadCache
from gatewayd.upstream.names import Names
from gatewayd.upstream.pool import Pool

if TYPE_CHECKING:
    import ssl

    from gatewayd import Body, Headers
    from gatewayd.timers import Sweeper


def nothing(*_: object) -> None:
    """Do nothing."""


def stream(*pieces: bytes, length: int | None = None, ended: bool = True) -> StreamBody:
    """Return a request body that is fed by the test."""
    body = StreamBody(length, pause=nothing, resume=nothing)
    for piece in pieces:
        body.feed(piece)
    if ended:
        body.feed_end()
    return body


def make_attempt(
    method: str = "GET",
    target: str = "/",
    body: bytes | Body = b"",
    *,
    deadline: float = NEVER,
    on_interim: Any = nothing,
    upgrade: str | None = None,
    expects_continue: bool = False,
    answer_by: float = NEVER,
    received_at: float = NEVER,
    **timeouts: float,
) -> Attempt:
    """Make a request as it goes to an instance; a stream is chunked unless it knows its length."""
    head = f"{method} {target} HTTP/1.1\r\nHost: origin.test\r\n"
    chunked = not isinstance(body, bytes) and body.length is None
    if chunked:
        head += "Transfer-Encoding: chunked\r\n"
    elif body:
        head += f"Content-Length: {len(body) if isinstance(body, bytes) else body.length}\r\n"
    return Attempt(
        method,
        head.encode() + b"\r\n",
        body,
        chunked,
        Timeouts(**timeouts),
        deadline,
        on_interim,
        upgrade,
        expects_continue,
        answer_by,
        received_at,
    )


def make_pool(
    sweeper: Sweeper, url: str, context: ssl.SSLContext | None = None, **settings: Any
) -> Pool:
    """Make a pool of connections with settings of a service."""
    config = ServiceConfig.model_validate(settings)
    heads = HeadCache(config.max_response_headers)
    return Pool("origin", url, config, context, sweeper, Names(), heads)


class Interims:
    """Collects 1xx responses."""

    def __init__(self) -> None:
        self.all: list[tuple[int, list[tuple[str, str]]]] = []

    def __call__(self, status: int, headers: Headers) -> None:
        """Take one."""
        self.all.append((status, list(headers)))


class Attempts:
    """Stands for a pool: keeps the attempts that it is given, and answers each with 200."""

    def __init__(self) -> None:
        self.active = 3
        self.all: list[Attempt] = []

    async def send(self, attempt: Attempt) -> Response:
        """Take an attempt."""
        self.all.append(attempt)
        return Response(200)

    @property
    def head(self) -> bytes:
        """The head of the last request."""
        return self.all[-1].head


def make_instance(attempts: Attempts, **spec: Any) -> Instance:
    """Make an instance whose requests a test looks at."""
    settings = {"url": "http://origin.test:8080", **spec}
    return Instance("orders", InstanceSpec(**settings), cast("Pool", attempts))
