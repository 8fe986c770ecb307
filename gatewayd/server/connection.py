"""One client connection: aiohttp's ``RequestHandler`` with a request loop of our own.

aiohttp gives the head parser, the connection with its flow control, and the registry of all
connections. What it does differently from what a gateway needs is replaced, and this module and
:mod:`gatewayd.server.reader` are the only ones that touch its internals
(``tests/server/test_aiohttp_contract.py`` fails on a version that changed them):

- Requests are read by :class:`gatewayd.server.reader.RequestReader`, one at a time.
- One task serves all requests of a connection; the public API makes one more per request, which
  costs 7 us of 37 (measured).
- A client that has ended its side after a request still gets its answer.
- Deadlines are attributes that one sweep looks at, not timers.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, cast

from aiohttp.web_protocol import RequestHandler

from gatewayd.cancellation import is_cancelled
from gatewayd.chain import respond_to
from gatewayd.errors import Reject, forget_frames
from gatewayd.exchange import Exchange, new_request_id
from gatewayd.server.entry import HTTP_1_1, OVERLOADED
from gatewayd.server.reader import WAIT, RequestReader
from gatewayd.server.response import (
    CLOSE,
    CONNECTION_CLOSE,
    NONE,
    encode_head,
    encode_interim,
    encode_refusal,
    frame,
)
from gatewayd.server.streaming import send_stream
from gatewayd.timers import NEVER
from gatewayd.unsent import count_taken

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatewayd.body import Body
    from gatewayd.exchange import Peer, Request, Response
    from gatewayd.headers import Headers
    from gatewayd.server.entry import Entry
    from gatewayd.server.server import Server

logger = logging.getLogger("gatewayd.server")

# After a response that ends the connection the client's bytes are read and dropped until it pauses
# for so long, or has sent for the longest time: the reset that closing early causes could destroy
# the response (RFC 9112 section 9.6). nginx's lingering_timeout and lingering_time.
_LINGER_SECONDS = 2.0
_LONGEST_LINGER_SECONDS = 30.0
_NO_LINGER = struct.pack("ii", 1, 0)
# Requests that a client may have answered in a row before others have their turn.
_MOST_IN_A_ROW = 32
_CONNECTION_KEEP_ALIVE = b"Connection: keep-alive\r\n"


class ClientConnection(RequestHandler):
    """A client's connection.

    Attributes:
        expires_at: When :meth:`expire` is due: the client takes nothing of a response, or lingers.

    """

    __slots__ = ("_client_eof", "_exchange", "_head_sent", "_keep_open", "_linger_end", "_next",
                 "_reader", "_server", "_taken", "expires_at")  # fmt: skip

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server.registry,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # its own default for "none"
            keepalive_timeout=0,  # deadlines are the sweeper's
        )
        self._parser = None  # the reader has one
        self._server = server
        self._reader = RequestReader(self, server.generations, server.sweeper.clock, loop)
        self._next: Exchange | Reject | None = None
        self._exchange: Exchange | None = None
        self._keep_open = False
        self._head_sent = False
        self._client_eof = False
        self._linger_end = NEVER
        self._taken = 0  # bytes, when the deadline was set
        self.expires_at = NEVER

    # --- connection --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving, unless there are too many connections."""
        super().connection_made(transport)
        self._server.sweeper.watch(self)
        if not self._server.opened():
            self.force_close()
            return
        self._server.sweeper.watch(self._reader)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what goes on: the registry cancels the task that serves this connection."""
        if self._manager is None:
            return  # a tunnel has told us already
        self._server.closed()
        self._server.sweeper.forget(self)
        self._server.sweeper.forget(self._reader)
        self._reader.lose(ConnectionResetError("the client closed the connection"))
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived: requests, or what is dropped while lingering."""
        if self._linger_end == NEVER:
            self._reader.feed(data)
        else:
            self.expires_at = min(self._linger_end, self._now() + _LINGER_SECONDS)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio.Protocol has it
        """Keep the connection for the answer: the client has only ended its own side."""
        self._client_eof = True
        self._reader.feed_eof()
        if self._exchange is None and self._next is None:
            self.force_close()
            return False
        # TLS has no half-closed connections (asyncio closes them whatever is returned).
        return self.transport is not None and self.transport.can_write_eof()

    def _now(self) -> float:
        return self._server.sweeper.clock()

    # --- for the reader ----------------------------------------------------------------------

    def ready(self, what: Exchange | Reject) -> None:
        """Take the next request, or what is answered instead of it."""
        self._next = what
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def describe_peer(self, entry: Entry) -> Peer:
        """Return the socket's other end, as a configuration trusts it."""
        transport = self.transport
        assert transport is not None  # noqa: S101  # bytes have just come from it
        name = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104
        tls = transport.get_extra_info("ssl_object")
        scheme = "http" if tls is None else "https"
        certificate = None if tls is None else tls.getpeercert() or None
        return entry.peer(name[0], name[1], scheme, certificate)

    def pause_input(self) -> None:
        """Read no more from the socket."""
        self._pause_transport_reading()

    def resume_input(self) -> None:
        """Read from the socket again."""
        self._resume_transport_reading()

    def send_continue(self) -> None:
        """Ask the client for the body that it holds back, unless it has its answer."""
        if not self._head_sent and self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send_interim(self, status: int, headers: Headers) -> None:
        """Pass a 1xx response on, unless the final one is on its way."""
        if not self._head_sent and self.transport is not None:
            self.transport.write(encode_interim(status, headers))

    # --- serving -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve one request after the other until the connection ends."""
        pipelined = 0
        what: Exchange | Reject | None = None
        try:
            while not self._force_close:
                if self._next is None:
                    self._waiter = self._loop.create_future()
                    await self._waiter
                    continue
                what, self._next = self._next, None
                if type(what) is Exchange:
                    await self._serve(what)
                else:
                    self._send_refusal(cast("Reject", what))
                what = None  # an idle connection would keep the exchange, bodies and all
                if not self._keep_open or self._close or self._force_close:
                    self._linger()
                    break
                self._reader.next()
                if self._next is None:
                    if self._client_eof:
                        self.force_close()
                else:
                    pipelined += 1  # type: ignore[unreachable]  # next() has made it ready
                    if pipelined % _MOST_IN_A_ROW == 0:
                        await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            self.reset()
            forget_frames(error)
            raise
        except ConnectionError as error:
            logger.debug("%r ended: %s", self, error)
            self.reset()
            forget_frames(error)
        except Exception as error:
            logger.exception("%r failed", self)
            self.reset()
            forget_frames(error)
        finally:
            what = None  # this frame is kept by a cancellation, which the exchange knows

    async def _serve(self, exchange: Exchange) -> None:
        """Run an exchange through the pipeline and send its response."""
        server = self._server
        generation, self._reader.generation = self._reader.generation, None
        assert generation is not None  # noqa: S101  # it came with the exchange
        error: BaseException | None = None
        generation.in_flight += 1
        server.in_flight += 1
        self._exchange = exchange
        self._head_sent = False
        self._keep_open = self._reader.keep_alive
        try:
            tunnel = None
            if server.in_flight > generation.entry.max_in_flight:
                response = respond_to(OVERLOADED, exchange)
            else:
                try:  # Pipeline.__call__, inlined: one coroutine less is 0.6 us
                    response = await generation.pipeline.run(exchange)
                    tunnel = response.tunnel  # where a filter has returned none, it is told here
                except (Exception, SystemExit) as raised:
                    response = respond_to(raised, exchange)
                except asyncio.CancelledError as raised:
                    if is_cancelled():
                        raise
                    response = respond_to(raised, exchange)  # only what a filter awaited was
            exchange.response = response
            if tunnel is not None:
                await self._run_tunnel(exchange.request, response)
            else:
                try:
                    waits = self._send(exchange, response)
                except Exception as unsendable:
                    waits = await self._send_instead(exchange, response, unsendable)
                if waits is not None:
                    await waits
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._exchange = None
            server.in_flight -= 1
            generation.in_flight -= 1
            if exchange.callbacks:
                for failed in exchange.finish(error):
                    logger.error("exchange %s: a callback failed", exchange.id, exc_info=failed)
            generation.gateway.ended.add(exchange, error)
            if generation.retiring:
                generation.ended()

    def _send_refusal(self, reject: Reject) -> None:
        """Answer a request that never became an exchange."""
        request_id = new_request_id()
        self._server.refused_requests += 1
        # Not louder: a client could fill the log with this.
        logger.debug("refused %s: %s (request %s)", self.peername, reject, request_id)
        self._keep_open = False
        self.write(encode_refusal(reject, request_id, head_only=self._reader.asks_head))

    def _send(self, exchange: Exchange, response: Response) -> Awaitable[None] | None:
        """Send a response; return what to wait for where it does not fit in one write."""
        request = exchange.request
        body = response.body
        framing, length = frame(response, request.method, request.version)
        if framing == CLOSE or self._close or self._reader.state != WAIT:
            # What is left of a request body cannot be skipped cheaply: answer, then close.
            self._keep_open = False
        connection = b""
        if not self._keep_open:
            connection = CONNECTION_CLOSE
        elif request.version is not HTTP_1_1:
            connection = _CONNECTION_KEEP_ALIVE
        head = encode_head(response, framing, length, connection)
        self._head_sent = True
        if type(body) is not bytes:
            return send_stream(self, exchange, head, cast("Body", body), framing)
        if framing == NONE:
            self.write(head)
        else:
            self.write(head + body)
            exchange.sent = len(body)
        return self.drain() if self._paused else None

    async def _send_instead(
        self, exchange: Exchange, response: Response, error: Exception
    ) -> Awaitable[None] | None:
        """Answer 500 where a filter has made what cannot be sent, such as a status of 999."""
        if self._head_sent:
            raise error
        await response.discard()
        exchange.response = respond_to(error, exchange)
        return self._send(exchange, exchange.response)

    async def _run_tunnel(self, request: Request, response: Response) -> None:
        """Send the 101 and carry bytes until both ends are done."""
        transport = self.transport
        if transport is None or transport.is_closing():
            await response.discard()
            raise ConnectionResetError("the client closed the connection")
        protocol = (request.upgrade or "").encode("latin-1")
        fields = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol
        self.write(encode_head(response, NONE, None, fields))
        self._keep_open = False
        try:
            await response.tunnel.run(transport, self._reader.close())
        finally:
            # The tunnel took the transport's protocol away: aiohttp's part must hear of the end.
            self.connection_lost(None)

    # --- writing -----------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """Write to the client; return whether so much is unsent that :meth:`drain` is due."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        transport.write(data)
        return self._paused

    async def drain(self) -> None:
        """Wait until the client has taken most of what is unsent."""
        self._await_client()
        try:
            await self._drain_helper()
        finally:
            self.expires_at = NEVER

    def _await_client(self) -> None:
        """Give the client ``send_timeout`` to take something of what is unsent."""
        self._taken = count_taken(self.transport)
        self.expires_at = self._now() + self._reader.entry.limits.send_timeout

    # --- the end -----------------------------------------------------------------------------

    def _linger(self) -> None:
        """Close the sending side; what the client still sends is dropped for a while."""
        transport = self.transport
        if transport is None:
            return
        if self._client_eof or self._reader.quiet or not transport.can_write_eof():
            self.force_close()
            return
        self._reader.close()
        self._resume_transport_reading()
        transport.write_eof()
        self._linger_end = self._now() + _LONGEST_LINGER_SECONDS
        self.expires_at = self._now() + _LINGER_SECONDS

    def expire(self, now: float) -> None:  # noqa: ARG002  # the sweeper's contract
        """End it: the client has taken nothing for too long, or has lingered long enough."""
        if self._linger_end != NEVER and self.transport and not self.transport.is_closing():
            self.force_close()  # a slow client may not have taken the end of its response yet
        elif count_taken(self.transport) > self._taken:
            self._await_client()
        else:
            self.reset()

    def force_close(self) -> None:
        """Close the connection; what is unsent has ``send_timeout`` to leave, and then goes."""
        self._force_close = True
        self._reader.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.transport is not None:
            self._await_client()
            self.transport.close()

    def close(self) -> None:
        """End the connection after the exchange that is running, at once if there is none."""
        self._close = True
        if self._exchange is None and self._next is None:
            self.force_close()

    def abort(self) -> asyncio.Task[None] | None:
        """Break off whatever runs, for the end of a drain; return the task that ends with it."""
        task = self._task_handler
        if task is not None:
            task.cancel()
        self.reset()
        return task

    def reset(self) -> None:
        """Reset the connection: what was sent must not look complete."""
        self._force_close = True
        self._reader.close()
        transport = self.transport
        if transport is None:
            return
        if not transport.is_closing():
            # Without this the kernel would end the connection as if all had been said.
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()

    def __repr__(self) -> str:
        return f"<client connection of {self.peername}: {self._reader.state}>"
