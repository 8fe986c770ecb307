"""Reads requests off one connection, one at a time: a state machine driven by what arrives.

::

    HEAD --head complete--> BODY --body complete--> WAIT --next()--> HEAD
      |                       |
      +--malformed, too late--+--> CLOSED

A head is isolated by its empty line and matched against the grammar before aiohttp's parser sees
it, so that limits are exact, and whatever comes behind a message waits, so that a bad request
cannot spoil the good one before it. Bodies are found by the decoders that the upstream side uses as
well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from aiohttp.http import HttpProcessingError, HttpRequestParser

from gatewayd.body import StreamBody
from gatewayd.errors import Reject
from gatewayd.exchange import Exchange, drop_interim, new_request_id
from gatewayd.http1.framing import ChunkedDecoder, FramingError, LengthDecoder
from gatewayd.http1.grammar import REQUEST_HEAD, TRAILING_SPACE
from gatewayd.server.entry import CHUNKED, HTTP_1_1, make_request, malformed, origin_form
from gatewayd.timers import NEVER

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from gatewayd.exchange import Peer
    from gatewayd.generation import Generation, Generations
    from gatewayd.headers import Headers
    from gatewayd.http1.framing import Decoder
    from gatewayd.server.entry import Entry, Fields, RequestLine
    from gatewayd.timers import Clock

# What the next bytes are; see the module's docstring. (Plain strings for the reason given in
# upstream/connection.py.)
HEAD = "head"
BODY = "body"
WAIT = "wait"
CLOSED = "closed"

# Pipelined bytes that may wait behind the current request; reading is paused above it.
_MAX_WAITING = 65536
# Bytes of a request line, and of field lines, that are worth remembering: a connection that is idle
# keeps the latter, and what they mean.
_MAX_REMEMBERED = 256
_MAX_REMEMBERED_BLOCK = 4096
_CRLF = b"\r\n"
# What may wait though no head has begun.
_NO_HEAD = (b"", b"\r")


class Connection(Protocol):
    """What the reader needs of the connection that it reads from."""

    def ready(self, what: Exchange | Reject) -> None:
        """Take the next request, or what is answered instead of it."""

    def describe_peer(self, entry: Entry) -> Peer:
        """Return the socket's other end, as a configuration trusts it."""

    def pause_input(self) -> None:
        """Read no more from the socket."""

    def resume_input(self) -> None:
        """Read from the socket again."""

    def send_continue(self) -> None:
        """Ask the client for the body that it holds back."""

    def send_interim(self, status: int, headers: Headers) -> None:
        """Pass a 1xx response on."""

    def force_close(self) -> None:
        """End the connection."""


class RequestReader:
    """Makes exchanges of the bytes of one connection.

    Args:
        connection: The connection.
        generations: Gives the running generation.
        clock: The sweeper's clock.
        loop: The event loop.

    Attributes:
        state: What the next bytes are.
        entry: What the last head was checked by.
        generation: The generation of the exchange that is ready; whoever serves it takes it away,
            as an idle connection must not keep one.
        keep_alive: Whether the client wants the connection to outlive that request.
        asks_head: Whether what was refused asked for a head only (RFC 9110 section 9.3.2).
        expires_at: When :meth:`expire` is due (see :mod:`gatewayd.timers`).

    """

    __slots__ = ("_block", "_body", "_clock", "_connection", "_decoder", "_fields", "_generations",
                 "_inbox", "_longest", "_loop", "_parser", "_paused", "_peer", "_send_interim",
                 "_version", "asks_head", "entry", "expires_at", "generation", "keep_alive",
                 "state")  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        generations: Generations,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connection = connection
        self._send_interim = connection.send_interim
        self._generations = generations
        self._clock = clock
        self._loop = loop
        self.state = HEAD
        self.entry: Entry = generations.current.entry
        self.generation: Generation | None = None
        self.keep_alive = self.asks_head = False
        self._inbox = b""
        self._parser: Any = None  # made when the first head is complete
        self._body: StreamBody | None = None
        self._decoder: Decoder | None = None
        self._paused = False
        self._peer: Peer | None = None
        # What followed the line in the last head.
        self._block: bytes | None = None
        self._longest = 0  # bytes of a head with this block
        self._version = HTTP_1_1
        self._fields: Any = None  # Fields, where there is a block
        self.expires_at = clock() + self.entry.limits.header_timeout

    # --- what arrives ------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take what was read, as the state says."""
        if self.state == HEAD:
            self._take_head(self._inbox + data if self._inbox else data)
        elif self.state == BODY:
            self._take_body(data)
        elif self.state == WAIT:
            self._inbox += data
            if len(self._inbox) > _MAX_WAITING and not self._paused:
                self._pause()

    def feed_eof(self) -> None:
        """Take the end of what the client sends."""
        if self.state == BODY:
            self._break_body(malformed("The request body is incomplete."))

    def next(self) -> None:
        """Go on after a response: with what waits, or with what will come."""
        self.state = HEAD
        self.expires_at = self._clock() + self.entry.keepalive_timeout
        if self._paused:  # by what waits, or by a body that nobody has read
            self._resume()
        if self._inbox:
            waiting, self._inbox = self._inbox, b""
            self._take_head(waiting)
            if self.state == WAIT and len(self._inbox) > _MAX_WAITING:
                # A request takes less of what waits than one read would add to it.
                self._pause()

    def close(self) -> bytes:
        """Read no more requests; return what waited."""
        self.state = CLOSED
        self._body = self._parser = self._block = self._fields = None
        self.expires_at = NEVER
        waiting, self._inbox = self._inbox, b""
        return waiting

    def lose(self, error: Exception) -> None:
        """Take notice that the connection is gone."""
        if self._body is not None:
            self._body.fail(error)
        self.close()

    @property
    def quiet(self) -> bool:
        """Whether the last request was read whole and nothing waits behind it."""
        return self.state == WAIT and not self._inbox

    def expire(self, now: float) -> None:  # noqa: ARG002  # the sweeper's contract
        """Act on a deadline: a slow head or body is refused, an idle connection ends."""
        if self.state == BODY:
            text = "The request body did not arrive in time."
            self._break_body(Reject(408, "request_timeout", text))
        elif self.state == HEAD and self._inbox not in _NO_HEAD:
            text = "The request head did not arrive in time."
            self._refuse(Reject(408, "request_timeout", text), self._inbox)
        else:
            self._connection.force_close()

    # --- heads -------------------------------------------------------------------------------

    def _take_head(self, data: bytes) -> None:
        """Start an exchange where a head is complete; keep what may become one, refuse the rest."""
        entry = self._generations.current.entry
        try:
            # Mostly it is a whole head, and nothing else, with the fields of the one before.
            if len(data) <= self._longest:
                text, _, block = data.partition(_CRLF)
                line = self._repeated(text, block, entry)
                if line is not None:
                    self._start_exchange(line, self._fields, b"")
                    return
            self._look_for_head(data, entry)
        except Reject as reject:
            self._refuse(reject, data)

    def _look_for_head(self, data: bytes, entry: Entry) -> None:
        # RFC 9112 section 2.2: ignore one empty line before a request.
        head, mark, rest = data.removeprefix(_CRLF).partition(_CRLF + _CRLF)
        if not mark:
            entry.check_incomplete(head, len(self._inbox.removeprefix(_CRLF)))
            self._keep(data)
            return
        text, _, block = (head + mark).partition(_CRLF)
        line = self._repeated(text, block, entry)
        if line is not None:
            self._start_exchange(line, self._fields, rest)
        else:
            self._start_exchange(*self._check_head(text, block, entry), rest)

    def _keep(self, data: bytes) -> None:
        """Keep the beginning of a head, whose time starts with its first byte.

        An empty line is none (see :meth:`_look_for_head`): an idle connection stays idle with it.
        """
        if data == _CRLF:
            data = b""
        if self._inbox in _NO_HEAD and data not in _NO_HEAD:
            limits = self._generations.current.entry.limits
            self.expires_at = self._clock() + limits.header_timeout
        self._inbox = data

    def _repeated(self, text: bytes, block: bytes, entry: Entry) -> RequestLine | None:
        """Return the request line of a head whose field lines are those of the one before.

        A client with a connection of its own mostly sends the same fields with every request, and
        checking them costs 9 us of a request's 26 (measured under load): so what a block of field
        lines means is remembered for as long as its bytes stay the same.
        """
        if block == self._block and entry is self.entry and 0 < len(text) <= _MAX_REMEMBERED:
            line = entry.remembered_line(text)
            if line.version is self._version and line.path is not None:
                return line
        return None

    def _check_head(self, text: bytes, block: bytes, entry: Entry) -> tuple[RequestLine, Fields]:
        """Check a head that is not like the one before, and remember what its fields mean."""
        limits = entry.limits
        parse = entry.remembered_line if len(text) <= _MAX_REMEMBERED else entry.request_line
        line = parse(text)
        head = text + _CRLF + block
        if len(head) > limits.max_header_bytes or head.count(b"\n") > limits.max_headers + 2:
            raise Reject(431, "headers_too_large", "The request head is too large.")
        if not REQUEST_HEAD.fullmatch(head):
            raise malformed("The request head is invalid.")
        lines = self._parse(head)
        # Not of a target in absolute-form, which changes what the Host field says.
        repeatable = line.path is not None
        if not repeatable:
            target, lines = origin_form(line.method, line.target.encode("latin-1"), lines)
            line = entry.line_of(line.method, target, line.version)
        if self._peer is None or self.entry is not entry:
            self._peer = self._connection.describe_peer(entry)
        fields = entry.check(lines, line.version, self._peer)
        longest = _MAX_REMEMBERED + len(_CRLF) + len(block)
        most = min(_MAX_REMEMBERED_BLOCK, limits.max_header_bytes)
        if repeatable and not fields.length and longest <= most:
            self._block, self._longest = block, longest
            self._version, self._fields = line.version, fields
        else:
            self._block, self._longest, self._fields = None, 0, None
        self.entry = entry
        return line, fields

    def _start_exchange(self, line: RequestLine, fields: Fields, rest: bytes) -> None:
        """Make an exchange of a complete head, and the first bytes of its body."""
        exchange = Exchange(
            make_request(line, fields),
            self._clock(),
            new_request_id(),
            self._send_interim if line.version is HTTP_1_1 else drop_interim,
        )
        self.generation = self._generations.current
        self.keep_alive = fields.keep_alive
        self.expires_at = NEVER
        if fields.length:
            self._inbox = b""
            self._start_body(exchange, fields, rest)
        else:
            self._inbox = rest
            self.state = WAIT
        self._connection.ready(exchange)

    def _parse(self, head: bytes) -> Sequence[tuple[bytes, bytes]]:
        """Parse a head with aiohttp's parser.

        The parser never sees a body, so it is good for another head only after one without, and
        after one that did not ask it to expect the connection's end. It keeps the fields of the
        last head until the next one begins, which an idle connection must not with long ones.
        """
        if self._parser is None:
            self._parser = HttpRequestParser(
                None,  # the protocol whose reading a body would pause; there are no bodies
                self._loop,
                65536,  # of a body that waits
                max_line_size=1 << 20,  # our own limits are exact, and checked before
                max_field_size=1 << 20,
                max_headers=1 << 14,
                auto_decompress=False,
            )
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
        ended = message.should_close or message.upgrade or message.chunked
        if ended or "Content-Length" in message.headers or len(head) > _MAX_REMEMBERED_BLOCK:
            self._parser = None
        lines: Sequence[tuple[bytes, bytes]] = message.raw_headers
        return lines

    def _refuse(self, reject: Reject, data: bytes) -> None:
        """Give up on what cannot become an exchange; the connection ends with the answer."""
        self.asks_head = data.removeprefix(_CRLF).startswith(b"HEAD ")
        self.close()
        self._connection.ready(reject)

    # --- bodies ------------------------------------------------------------------------------

    def _start_body(self, exchange: Exchange, fields: Fields, rest: bytes) -> None:
        body = StreamBody(
            None if fields.length == CHUNKED else fields.length,
            pause=self._pause,
            resume=self._resume,
            on_read=self._ask_for_body if fields.expects_continue else None,
        )
        if fields.length == CHUNKED:
            self._decoder = ChunkedDecoder(body, self.entry.forbids_trailer)
        else:
            self._decoder = LengthDecoder(body, fields.length)
        self._body = body
        self.state = BODY
        if not fields.expects_continue:
            self._await_body()
        if rest:
            self._take_body(rest)
        whole = body.take_all()
        exchange.request.body = body if whole is None else whole

    def _take_body(self, data: bytes) -> None:
        assert self._decoder is not None  # noqa: S101  # there is one in this state
        try:
            rest = self._decoder.feed(data)
        except FramingError as error:
            self._break_body(malformed(f"The request body is invalid: {error}."))
            return
        if rest is None:
            if not self._paused:
                self._await_body()
            return
        self.state = WAIT
        self._body = self._decoder = None
        self.expires_at = NEVER
        self._inbox = rest

    def _ask_for_body(self) -> None:
        """Let the client send what it holds back: its time begins here."""
        self._connection.send_continue()
        if self.state == BODY:
            self._await_body()

    def _await_body(self) -> None:
        self.expires_at = self._clock() + self.entry.limits.body_timeout

    def _break_body(self, error: Exception) -> None:
        body = self._body
        self.close()
        if body is not None:
            body.fail(error)

    def _pause(self) -> None:
        self._paused = True
        self.expires_at = NEVER  # the gateway or the upstream is slow, not the client
        self._connection.pause_input()

    def _resume(self) -> None:
        self._paused = False
        if self.state == BODY:
            self._await_body()
        self._connection.resume_input()

    def __repr__(self) -> str:
        return f"<reader: {self.state}>"
