"""A connection to an instance that a test drives by bytes, without a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gatewayd.testing import read_body
from gatewayd.upstream.connection import CLOSED, IDLE, UpstreamConnection
from tests.support.upstream import make_pool

if TYPE_CHECKING:
    from gatewayd import Response
    from gatewayd.timers import Sweeper

# Heads of responses, to which fields or a body are added.
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Transport(asyncio.Transport):
    """Takes what is written, and notes what else is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class Driven:
    """A connection that the test drives, the only one of its pool."""

    def __init__(self, sweeper: Sweeper, **settings: Any) -> None:
        self.pool = make_pool(sweeper, "http://127.0.0.1:9", **settings)
        self.pool._open = 1
        self.connection = UpstreamConnection(self.pool, sweeper.clock)
        self.transport = Transport()
        self.connection.connection_made(self.transport)

    @property
    def reusable(self) -> bool:
        """Whether the connection went back to its pool; if not it must be closed and forgotten."""
        if self.pool._idle == [self.connection]:
            assert self.connection.state == IDLE
            assert not self.transport.is_closing()
            return True
        assert self.connection.state == CLOSED
        assert self.pool._open == 0
        return False


async def outcome(response: asyncio.Future[Response]) -> tuple[int, bytes, Any]:
    """Return status, body and trailers of a response."""
    message = await response
    body = message.body
    content = await read_body(message)
    trailers = None if isinstance(body, bytes) or body.trailers is None else list(body.trailers)
    return message.status, content, trailers


def uploading(connection: UpstreamConnection) -> bool:
    """Whether the body of its request is still being sent."""
    return connection._upload is not None and connection._upload.sending
