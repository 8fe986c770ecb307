"""Sends the body of a response that is a stream, piece by piece, as fast as the client takes it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from gatewayd.body import BodyClosedError, StreamBody
from gatewayd.cancellation import is_cancelled
from gatewayd.errors import GatewayError
from gatewayd.http1.framing import encode_chunk, encode_last_chunk
from gatewayd.server.response import CHUNKED_BODY, NONE

if TYPE_CHECKING:
    from gatewayd.body import Body
    from gatewayd.exchange import Exchange

logger = logging.getLogger("gatewayd.server")


class Client(Protocol):
    """What is needed of the client's connection."""

    def write(self, data: bytes) -> bool:
        """Write to the client; return whether so much is unsent that :meth:`drain` is due."""

    async def drain(self) -> None:
        """Wait until the client has taken most of what is unsent."""

    def reset(self) -> None:
        """Reset the connection: what was sent must not look complete."""


async def send_stream(
    client: Client, exchange: Exchange, head: bytes, body: Body, framing: str
) -> None:
    """Send a response whose body is a stream, and close that.

    Args:
        client: The client's connection.
        exchange: The exchange that the response belongs to.
        head: The response's head.
        body: Its body.
        framing: How the client will know where that ends.

    Raises:
        ConnectionError: the body broke off, is wrong, or the client has left.

    """
    try:
        if framing == NONE:
            client.write(head)
        else:
            await _copy_body(client, exchange, head, body, framing)
    except BaseException:
        # Part of the response is out: only the end of the connection can tell that it is
        # incomplete (RFC 9112 section 8).
        client.reset()
        raise
    finally:
        await body.aclose()


async def _copy_body(
    client: Client, exchange: Exchange, head: bytes, body: Body, framing: str
) -> None:
    """Write the body's pieces, the first one together with the head if it is there."""
    left = body.length
    if not (isinstance(body, StreamBody) and body.ready):
        client.write(head)
        head = b""
    while piece := await _read(exchange, body):
        if left is not None:
            left -= len(piece)
            if left < 0:
                raise _faulty(exchange, ValueError("it is longer than declared"))
        full = client.write(head + (encode_chunk(piece) if framing == CHUNKED_BODY else piece))
        exchange.sent += len(piece)
        head = b""
        if full:
            await client.drain()
    if left:
        raise _faulty(exchange, ValueError("it is shorter than declared"))
    if framing == CHUNKED_BODY:
        head += encode_last_chunk(body.trailers)
    if head:
        client.write(head)


async def _read(exchange: Exchange, body: Body) -> bytes:
    """Read on; whatever ends the body early ends the client's connection."""
    try:
        return await body.read()
    except (GatewayError, ConnectionError, BodyClosedError) as error:  # the instance has left, say
        raise ConnectionError(f"the response's body broke off: {error}") from error
    except Exception as error:
        raise _faulty(exchange, error) from error
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise _faulty(exchange, error) from error


def _faulty(exchange: Exchange, error: BaseException) -> ConnectionError:
    """Tell of a body that a filter has made wrong: its client learns only that it broke off."""
    logger.error(
        "exchange %s: the response's body failed: %s %s",
        exchange.id, exchange.request.method, exchange.request.path, exc_info=error,
    )  # fmt: skip
    return ConnectionError(f"the response's body failed: {error}")
