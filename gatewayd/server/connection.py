"""One client connection: aiohttp's ``RequestHandler`` with a request loop of our own.

aiohttp parses heads and gives the connection, its flow control and its registry. What it does
differently from what a gateway needs is replaced here, and this is the only module that touches its
internals (``tests/server/test_aiohttp_contract.py`` fails on a version that changed them):

- A head is isolated and checked against the grammar before the parser sees it, so that limits are
  exact, and a bad request behind a good one cannot spoil it: one message is read at a time, and
  what comes behind waits.
- Bodies are framed by :mod:`gatewayd.http1.framing`, the same code as on the upstream side.
- One task serves all requests of a connection; the public API makes one more per request, which
  costs 7 us of 37 (measured).
- Deadlines are attributes that one sweep looks at, not timers.

Reading is a state machine driven by ``data_received``::

    HEAD --head complete--> BODY --body complete--> WAIT --response sent--> HEAD
      |                       |                                              |
      +--malformed--> CLOSING <------------------------------- close --------+
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from aiohttp.http import HttpProcessingError, HttpRequestParser
from aiohttp.web_protocol import RequestHandler

from gatewayd.body import StreamBody
from gatewayd.errors import Reject, problem_response
from gatewayd.exchange import Exchange, new_request_id
from gatewayd.http1.framing import (
    ChunkedDecoder,
    FramingError,
    LengthDecoder,
    encode_chunk,
    encode_last_chunk,
)
from gatewayd.http1.grammar import BARE_LF, REQUEST_HEAD, TRAILING_SPACE
from gatewayd.pipeline import respond_to
from gatewayd.server.entry import CHUNKED, HTTP_1_1, make_request, malformed, origin_form
from gatewayd.server.response import (
    CHUNKED_BODY,
    CLOSE,
    LENGTH,
    NONE,
    encode_head,
    encode_interim,
    frame,
)
from gatewayd.timers import NEVER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gatewayd.body import Body
    from gatewayd.config.schema import ServerConfig
    from gatewayd.exchange import Peer, Request, Response
    from gatewayd.generation import Generation
    from gatewayd.headers import Headers
    from gatewayd.http1.framing import Decoder
    from gatewayd.server.entry import Entry, Fields, RequestLine
    from gatewayd.server.server import Server

logger = logging.getLogger("gatewayd.server")

# Pipelined bytes that may wait behind the current request; reading is paused above it.
_MAX_WAITING = 65536
# After a response that ends the connection the client's bytes are read and dropped until it pauses
# for so long, or has sent for the longest time: the reset that closing early causes could destroy
# the response (RFC 9112 section 9.6). nginx's lingering_timeout and lingering_time.
_LINGER_SECONDS = 2.0
_LONGEST_LINGER_SECONDS = 30.0
# Bytes of a request line that is worth remembering.
_MAX_REMEMBERED = 512
_CONNECTION_CLOSE = b"Connection: close\r\n"
_CONNECTION_KEEP_ALIVE = b"Connection: keep-alive\r\n"


# What the next bytes from the client are; see the module's docstring. (Plain strings for the reason
# given in upstream/connection.py.)
HEAD = "head"
BODY = "body"
WAIT = "wait"
CLOSING = "closing"


class ClientConnection(RequestHandler):
    """A client's connection.

    Attributes:
        expires_at: When :meth:`expire` is due (see :mod:`gatewayd.timers`).

    """

    __slots__ = ("_block", "_body", "_client_eof", "_decoder", "_entry", "_exchange", "_fields",
                 "_generation", "_head_sent", "_inbox", "_keep_open", "_linger_end", "_next", "_peer",
                 "_read_end", "_reading", "_server", "_version", "_waiting_paused", "_write_end",
                 "expires_at")  # fmt: skip

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server.registry,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # its own default for "none"
            keepalive_timeout=0,  # deadlines are the sweeper's
        )
        self._server = server
        self._parser: Any = None  # made when the first head is complete
        self._inbox = b""
        self._reading = HEAD
        self._next: Exchange | Reject | None = None
        self._generation: Generation = server.generations.current
        self._block: bytes | None = None
        self._version = HTTP_1_1
        self._entry: Entry | None = None
        self._fields: Fields
        self._exchange: Exchange | None = None
        self._body: StreamBody | None = None
        self._decoder: Decoder | None = None
        self._keep_open = False
        self._head_sent = False
        self._client_eof = False
        self._waiting_paused = False
        self._linger_end = NEVER
        self._peer: Peer | None = None
        self._read_end = NEVER
        self._write_end = NEVER
        self.expires_at = NEVER

    # --- connection --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving, unless there are too many connections."""
        super().connection_made(transport)
        if not self._server.opened():
            self.force_close()
            return
        self._set_read_end(self._limits.header_timeout)
        self._server.sweeper.watch(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what goes on: the registry cancels the task that serves this connection."""
        if self._manager is None:
            return  # a tunnel has told us already
        self._server.closed()
        self._server.sweeper.forget(self)
        self.expires_at = NEVER
        if self._body is not None:
            self._body.fail(ConnectionResetError("the client closed the connection"))
            self._body = None
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio.Protocol has it
        """Keep the connection for the answer: the client has only ended its own side."""
        self._client_eof = True
        if self._reading == BODY and self._body is not None:
            self._body.fail(malformed("The request body is incomplete."))
            self._body = None
            self._reading = CLOSING
        if self._exchange is None and self._next is None:
            self.force_close()
            return False
        # TLS has no half-closed connections (asyncio closes them whatever is returned).
        return self.transport is not None and self.transport.can_write_eof()

    @property
    def _limits(self) -> ServerConfig:
        return self._server.generations.current.entry.limits

    # --- reading -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what arrived, as the state says."""
        if self._reading == HEAD:
            self._take_head(self._inbox + data if self._inbox else data)
        elif self._reading == BODY:
            self._take_body(data)
        elif self._reading == WAIT:
            self._inbox += data
            if len(self._inbox) > _MAX_WAITING and not self._waiting_paused:
                self._waiting_paused = True
                self._pause_transport_reading()
        elif self._linger_end != NEVER:
            left = self._linger_end - self._server.sweeper.clock()
            self._set_read_end(min(left, _LINGER_SECONDS))

    def _take_head(self, data: bytes) -> None:
        if data.startswith(b"\r\n"):
            data = data[2:]  # RFC 9112 section 2.2: ignore one empty line before a request
        end = data.find(b"\r\n\r\n") + 4
        try:
            if end < 4:  # not found
                self._check_incomplete(data)
                if data and not self._inbox:
                    self._set_read_end(self._limits.header_timeout)
                self._inbox = data
                return
            self._inbox = b""
            self._start_exchange(data[:end] if end < len(data) else data, data[end:])
        except Reject as reject:
            self._refuse(reject)

    def _check_incomplete(self, data: bytes) -> None:
        """Refuse a head that can no longer become valid, without waiting for its end."""
        limits = self._limits
        line_end = data.find(b"\n") + 1
        if not line_end:
            if len(data) > limits.max_target_bytes + 64:  # method and version
                raise Reject(414, "target_too_long", "The request target is too long.")
            if data and not data[:1].isalpha() and not data.startswith(b"\r"):
                raise malformed("This is not HTTP.")
            return
        self._server.generations.current.entry.request_line(data[:line_end])
        if len(data) > limits.max_header_bytes or data.count(b"\n") > limits.max_headers + 1:
            raise Reject(431, "headers_too_large", "The request head is too large.")
        if BARE_LF.search(data):
            raise malformed("A line ends without CR.")

    def _start_exchange(self, head: bytes, rest: bytes) -> None:
        """Make an exchange of a complete head, and the first bytes of its body."""
        generation = self._server.generations.current
        entry = generation.entry
        line_end = head.find(b"\n") + 1
        parse = entry.remembered_line if line_end <= _MAX_REMEMBERED else entry.request_line
        line = parse(head[:line_end])
        block = head[line_end:]
        if (
            block == self._block
            and entry is self._entry
            and line.version is self._version
            and line.path is not None
            and len(head) <= entry.limits.max_header_bytes
        ):
            fields = self._fields
        else:
            # Not of a target in absolute-form, which has changed what the Host field says.
            repeatable = line.path is not None
            line, fields = self._check_head(head, line, entry)
            self._block = block if repeatable and not fields.length else None
            self._entry, self._version, self._fields = entry, line.version, fields
        exchange = Exchange(
            make_request(line, fields),
            self._server.sweeper.clock(),
            None,
            self._send_interim if line.version is HTTP_1_1 else None,
        )
        self._keep_open = fields.keep_alive
        self._head_sent = False
        self._read_end = self.expires_at = NEVER
        if fields.length:
            self._start_body(exchange, fields, rest, entry)
        else:
            self._reading = WAIT
            self._inbox = rest
        self._next = exchange
        self._generation = generation
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _check_head(
        self, head: bytes, line: RequestLine, entry: Entry
    ) -> tuple[RequestLine, Fields]:
        """Check a head that is not like the one before.

        A client with a connection of its own mostly sends the same fields with every request, and
        checking them costs 9 us of a request's 26 (measured under load): so what a block of field
        lines means is remembered for as long as its bytes stay the same.
        """
        limits = entry.limits
        if len(head) > limits.max_header_bytes or head.count(b"\n") > limits.max_headers + 2:
            raise Reject(431, "headers_too_large", "The request head is too large.")
        if not REQUEST_HEAD.fullmatch(head):
            raise malformed("The request head is invalid.")
        fields: Sequence[tuple[bytes, bytes]] = self._parse(head)
        if line.path is None:
            target, fields = origin_form(line.method, line.target.encode("latin-1"), fields)
            line = entry.line_of(line.method, target, line.version)
        return line, entry.check(fields, line.version, self._get_peer(entry))

    def _parse(self, head: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """Parse a head with aiohttp's parser.

        The parser never sees a body, so it is good for another head only after one without.
        """
        if self._parser is None:
            self._parser = HttpRequestParser(
                self, self._loop, 65536, max_line_size=1 << 20, max_field_size=1 << 20,
                max_headers=1 << 14, auto_decompress=False,
            )  # fmt: skip
        if b" \r\n" in head or b"\t\r\n" in head:
            # White space behind a value means nothing (RFC 9110 section 5.5), but llhttp takes it
            # for a part of a transfer coding.
            head = TRAILING_SPACE.sub(b"\r\n", head)
        try:
            messages, _upgraded, _tail = self._parser.feed_data(head)
        except HttpProcessingError as error:
            self._parser = None
            raise malformed("The request head is invalid.") from error
        if len(messages) != 1:
            raise malformed("The request head is invalid.")
        message = messages[0][0]
        if (
            message.should_close
            or message.upgrade
            or message.chunked
            or "Content-Length" in message.headers
        ):
            self._parser = None
        raw: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        return raw

    def _get_peer(self, entry: Entry) -> Peer:
        """Return the socket's other end, as the running configuration trusts it."""
        if self._peer is None or self._entry is not entry:
            transport = self.transport
            assert transport is not None  # noqa: S101  # bytes have just come from it
            name = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104
            tls = transport.get_extra_info("ssl_object")
            scheme = "http" if tls is None else "https"
            certificate = None if tls is None else tls.getpeercert() or None
            self._peer = entry.peer(name[0], name[1], scheme, certificate)
        return self._peer

    def _start_body(self, exchange: Exchange, fields: Fields, rest: bytes, entry: Entry) -> None:
        body = StreamBody(
            None if fields.length == CHUNKED else fields.length,
            pause=self._pause_body,
            resume=self._resume_body,
            on_read=self._send_continue if fields.expects_continue else None,
        )
        if fields.length == CHUNKED:
            self._decoder = ChunkedDecoder(body, entry.forbidden_trailers)
        else:
            self._decoder = LengthDecoder(body, fields.length)
        self._body = body
        self._reading = BODY
        self._set_read_end(entry.limits.body_timeout)
        if rest:
            self._take_body(rest)
        whole = body.take_all()
        exchange.request.body = body if whole is None else whole

    def _take_body(self, data: bytes) -> None:
        decoder, body = self._decoder, self._body
        if decoder is None or body is None:
            return
        try:
            rest = decoder.feed(data)
        except FramingError as error:
            body.fail(malformed(f"The request body is invalid: {error}."))
            self._end_body(CLOSING)
            return
        if rest is None:
            if not self._reading_paused:
                self._set_read_end(self._limits.body_timeout)
            return
        self._end_body(WAIT)
        self._inbox = rest

    def _end_body(self, reading: str) -> None:
        self._body = None
        self._decoder = None
        self._reading = reading
        self._set_read_end(NEVER)

    def _pause_body(self) -> None:
        self._reading_paused = True
        self._set_read_end(NEVER)  # the upstream is slow, not the client
        self._pause_transport_reading()

    def _resume_body(self) -> None:
        self._reading_paused = False
        if self._body is not None:
            self._set_read_end(self._limits.body_timeout)
        self._resume_transport_reading()

    def _refuse(self, reject: Reject) -> None:
        """Answer what could not become an exchange; the connection ends with it."""
        self._reading = CLOSING
        self._inbox = b""
        self._set_read_end(NEVER)
        self._next = reject
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- serving -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve one request after the other until the connection ends."""
        try:
            while not self._force_close:
                if self._next is None:
                    self._waiter = self._loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                    continue
                what, self._next = self._next, None
                if type(what) is Exchange:
                    await self._serve(what)
                else:
                    self._send_refusal(cast("Reject", what))
                if not self._go_on():
                    break
        except asyncio.CancelledError:
            if self.transport is not None:
                self.transport.abort()
            raise
        except ConnectionError as error:
            logger.debug("%r ended: %s", self, error)
            self._abort()
        except Exception:
            logger.exception("%r failed", self)
            self._abort()

    async def _serve(self, exchange: Exchange) -> None:
        """Run an exchange through the pipeline and send its response."""
        server = self._server
        generation = self._generation
        error: BaseException | None = None
        generation.in_flight += 1
        server.in_flight += 1
        self._exchange = exchange
        try:
            if server.in_flight > generation.entry.limits.max_in_flight:
                response = problem_response(_OVERLOADED, exchange.id)
            else:
                try:  # Pipeline.__call__, inlined: one coroutine less is 0.6 us
                    response = await generation.pipeline.entry.forward(exchange)
                except Exception as raised:
                    response = respond_to(raised, exchange)
            if response.tunnel is not None:
                await self._run_tunnel(exchange.request, response)
            elif (waits := self._send(exchange.request, response)) is not None:
                await waits
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._exchange = None
            server.in_flight -= 1
            generation.in_flight -= 1
            if exchange.callbacks:
                _finish(exchange, error)
            if generation.retiring:
                generation.ended()

    def _send_refusal(self, reject: Reject) -> None:
        """Answer a request that never became an exchange."""
        request_id = new_request_id()
        logger.info("refused %s: %s (request %s)", self.peername, reject, request_id)
        response = problem_response(reject, request_id)
        body = cast("bytes", response.body)  # a problem document is short and complete
        self._keep_open = False
        self._write(encode_head(response, LENGTH, len(body), _CONNECTION_CLOSE) + body)

    def _send(self, request: Request, response: Response) -> Awaitable[None] | None:
        """Send a response; return what to wait for where it does not fit in one write."""
        body = response.body
        framing, length = frame(response, request.method, request.version)
        if framing == CLOSE or self._close or self._reading != WAIT:
            # What is left of a request body cannot be skipped cheaply: answer, then close.
            self._keep_open = False
        connection = b""
        if not self._keep_open:
            connection = _CONNECTION_CLOSE
        elif request.version is not HTTP_1_1:
            connection = _CONNECTION_KEEP_ALIVE
        head = encode_head(response, framing, length, connection)
        self._head_sent = True
        if type(body) is not bytes:
            return self._send_stream(head, cast("Body", body), framing)
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        transport.write(head if framing == NONE else head + body)
        return self._drain() if self._paused else None

    async def _send_stream(self, head: bytes, body: Body, framing: str) -> None:
        try:
            if framing == NONE:
                self._write(head)
            else:
                await self._copy_body(head, body, framing)
        except BaseException:
            # Part of the response is out: only the end of the connection can tell that it is
            # incomplete (RFC 9112 section 8).
            self._abort()
            raise
        finally:
            await body.aclose()

    async def _copy_body(self, head: bytes, body: Body, framing: str) -> None:
        """Write the body's pieces, the first one together with the head if it is there."""
        left = body.length
        if not (isinstance(body, StreamBody) and body.ready):
            self._write(head)
            head = b""
        while piece := await _read(body):
            if left is not None:
                left -= len(piece)
                if left < 0:
                    raise ConnectionError("the response's body is longer than declared")
            self._write(head + (encode_chunk(piece) if framing == CHUNKED_BODY else piece))
            head = b""
            if self._paused:
                await self._drain()
        if left:
            raise ConnectionError("the response's body is shorter than declared")
        if framing == CHUNKED_BODY:
            head += encode_last_chunk(body.trailers)
        if head:
            self._write(head)

    async def _run_tunnel(self, request: Request, response: Response) -> None:
        """Send the 101 and carry bytes until both ends are done."""
        transport = self.transport
        if transport is None or transport.is_closing():
            await response.discard()
            raise ConnectionResetError("the client closed the connection")
        protocol = (request.upgrade or "").encode("latin-1")
        fields = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol
        self._write(encode_head(response, NONE, None, fields))
        self._keep_open = False
        self._reading = CLOSING
        self._set_read_end(NEVER)
        rest, self._inbox = self._inbox, b""
        try:
            await response.tunnel.run(transport, rest)
        finally:
            # The tunnel took the transport's protocol away: aiohttp's part must hear of the end.
            self.connection_lost(None)

    def _go_on(self) -> bool:
        """Prepare for the next request, or end the connection."""
        if not self._keep_open or self._close or self._force_close:
            self._linger()
            return False
        self._reading = HEAD
        timeout = self._generation.entry.limits.keepalive_timeout
        self._read_end = self.expires_at = self._server.sweeper.clock() + timeout
        if self._waiting_paused or self._reading_paused:  # the latter by a body that nobody read
            self._waiting_paused = self._reading_paused = False
            self._resume_transport_reading()
        if self._inbox:
            waiting, self._inbox = self._inbox, b""
            self._take_head(waiting)
        if self._client_eof and self._next is None:
            self.force_close()
            return False
        return True

    def _linger(self) -> None:
        """Close the sending side; what the client still sends is dropped for a while."""
        transport = self.transport
        if transport is None:
            return
        quiet = self._client_eof or (self._reading == WAIT and not self._inbox)
        if quiet or not transport.can_write_eof():
            self.force_close()
            return
        self._reading = CLOSING
        self._body = None
        self._resume_transport_reading()
        transport.write_eof()
        self._linger_end = self._server.sweeper.clock() + _LONGEST_LINGER_SECONDS
        self._set_read_end(_LINGER_SECONDS)

    # --- writing -----------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        transport.write(data)

    async def _drain(self) -> None:
        self._set_write_end(self._limits.send_timeout)
        try:
            await self._drain_helper()
        finally:
            self._set_write_end(NEVER)

    def _send_continue(self) -> None:
        if not self._head_sent and self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _send_interim(self, status: int, headers: Headers) -> None:
        if not self._head_sent and self.transport is not None:
            self.transport.write(encode_interim(status, headers))

    # --- deadlines and the end ---------------------------------------------------------------

    def _set_read_end(self, seconds: float) -> None:
        self._read_end = NEVER if seconds == NEVER else self._server.sweeper.clock() + seconds
        self.expires_at = min(self._read_end, self._write_end)

    def _set_write_end(self, seconds: float) -> None:
        self._write_end = NEVER if seconds == NEVER else self._server.sweeper.clock() + seconds
        self.expires_at = min(self._read_end, self._write_end)

    def expire(self, now: float) -> None:
        """Act on a deadline: a slow head or body is refused, everything else just ends."""
        if self._write_end <= now:
            self._abort()
        elif self._reading == HEAD and self._inbox:
            self._refuse(Reject(408, "request_timeout", "The request head did not arrive in time."))
        elif self._reading == BODY and self._body is not None:
            body = self._body
            self._end_body(CLOSING)
            body.fail(Reject(408, "request_timeout", "The request body did not arrive in time."))
        else:
            self.force_close()

    def force_close(self) -> None:
        """Close the connection; what is unsent has ``send_timeout`` to leave, and then goes."""
        self._force_close = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.transport is not None:
            self._set_read_end(NEVER)
            self._set_write_end(self._limits.send_timeout)
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
        self._abort()
        return task

    def _abort(self) -> None:
        """Reset the connection: what was sent must not look complete."""
        self._force_close = True
        if self.transport is not None:
            self.transport.abort()

    def __repr__(self) -> str:
        return f"<client connection of {self.peername}: {self._reading}>"


_OVERLOADED = Reject(
    503,
    "overloaded",
    "The gateway is at its limit of concurrent exchanges.",
    [("Retry-After", "1")],
)


def _finish(exchange: Exchange, error: BaseException | None) -> None:
    for failed in exchange.finish(error):
        logger.error("exchange %s: a callback failed", exchange.id, exc_info=failed)


async def _read(body: Body) -> bytes:
    """Read on; whatever ends the body early ends the client's connection."""
    try:
        return await body.read()
    except Exception as error:
        raise ConnectionError(f"the response's body broke off: {error}") from error
