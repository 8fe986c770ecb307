"""The contract suite's check of bodies that are streams, and of tunnels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayd.body import Body
from gatewayd.errors import Reject, UpstreamReset
from gatewayd.exchange import Exchange, Response
from gatewayd.headers import Headers
from gatewayd.testing.exchanges import Recorder, read_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd.filter import Filter
    from gatewayd.testing.subject import Subject

_PIECE = b"{}"
_CONTENT_TYPES = (None, "text/html", "application/json")


class _Source(Body):
    """A body of one piece, which may break off after it, and knows whether it was closed."""

    def __init__(self, broken: Exception | None = None) -> None:
        super().__init__(None if broken else len(_PIECE))
        self._pieces = [_PIECE]
        self._broken = broken
        self.closed = False
        self.used = False

    async def read(self) -> bytes:
        self.used = True
        if self._pieces:
            return self._pieces.pop()
        if self._broken is not None:
            raise self._broken
        return b""

    async def aclose(self) -> None:
        self.closed = True


class _Tunnel:
    closed = False

    def close(self) -> None:
        self.closed = True


async def passes_bodies(subject: Subject) -> None:
    """Check that streams are taken: a whole one is closed, a broken one is not made to look whole.

    So is a tunnel, and the body of a request. Responses are of several content types, as a filter
    may change some of them only.
    """
    async with subject.running() as one:
        for content_type in _CONTENT_TYPES:
            headers = {} if content_type is None else {"Content-Type": content_type}
            await _abandon_response(subject, one, headers)
            await _break_response(subject, one, headers)
        await _send_request(subject, one)
        await _switch_protocols(subject, one)


async def _answer(
    subject: Subject, one: Filter[Any], exchange: Exchange, answer: Response
) -> Response | None:
    """Return what the filter makes of a response; ``None`` where it refuses, or answers itself."""
    forward = Recorder(lambda _: answer)
    try:
        response = await one(exchange, forward)
    except Reject:
        return None
    except Exception as error:
        subject.fail(f"raised {error!r} where a response is a stream")
    subject.require_sendable(response)
    return response if forward.exchanges else None


async def _abandon_response(subject: Subject, one: Filter[Any], headers: Mapping[str, str]) -> None:
    source = _Source()
    exchange = subject.exchange()
    answer = Response(200, Headers.of(headers.items()), source)
    response = await _answer(subject, one, exchange, answer)
    if response is not None and isinstance(response.body, Body):
        await response.body.aclose()
        subject.require(source.closed, "its response's `aclose` does not close the body behind it")
    exchange.finish()


async def _break_response(subject: Subject, one: Filter[Any], headers: Mapping[str, str]) -> None:
    broken = _Source(UpstreamReset("broken off by the contract", sent=True))
    exchange = subject.exchange()
    answer = Response(200, Headers.of(headers.items()), broken)
    response = await _answer(subject, one, exchange, answer)
    if response is not None and response.status < 500:
        try:
            await read_body(response)
        except Exception:
            return
        finally:
            exchange.finish()
        subject.require(not broken.used, "makes a response that broke off look complete")


async def _send_request(subject: Subject, one: Filter[Any]) -> None:
    exchange = subject.exchange()
    exchange.request.method = "POST"
    exchange.request.body = _Source()
    forward = Recorder()
    try:
        await one(exchange, forward)
    except Reject:
        return
    except Exception as error:
        subject.fail(f"raised {error!r} where a request's body is a stream")
    finally:
        exchange.finish()
    subject.require(not forward.bodies or forward.bodies[-1], "loses the body of a request")


async def _switch_protocols(subject: Subject, one: Filter[Any]) -> None:
    exchange, tunnel = subject.exchange(), _Tunnel()
    exchange.request.upgrade = "websocket"
    response = await _answer(subject, one, exchange, Response(101, tunnel=tunnel))
    exchange.finish()
    if response is not None:
        subject.require(
            response.tunnel is tunnel or tunnel.closed, "loses the tunnel of a 101 response"
        )
