"""One connection to an instance: a request at a time, in a state machine driven by what arrives.

States::

    IDLE --send()--> HEAD --head of a final response--> BODY --end of body--> IDLE or CLOSED
                      |                                                          ^
                      +--101--> TUNNEL (the transport is handed over) ------------+

Bytes that arrive in IDLE, or behind the end of a response, belong to no request: the connection is
closed rather than let them answer somebody else's. It goes back to its pool only from a response
that ended where its framing says, after a request that was sent whole.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from gatewayd.body import NoBody, StreamBody
from gatewayd.errors import BadResponse, UpstreamReset, UpstreamTimeout
from gatewayd.exchange import Response
from gatewayd.http1.framing import ChunkedDecoder, CloseDecoder, FramingError, LengthDecoder
from gatewayd.timers import NEVER
from gatewayd.upstream.head import CHUNKED, UNTIL_CLOSE, HeadError, ResponseHead
from gatewayd.upstream.tunnel import Tunnel
from gatewayd.upstream.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.body import Body
    from gatewayd.http1.framing import Decoder
    from gatewayd.upstream.attempt import Attempt
    from gatewayd.upstream.pool import Pool

# 1xx responses that one response may bring before its final head; more is an attack or a fault.
_MAX_INTERIM = 16


# Where a connection is; see the module's docstring. Plain strings: CPython 3.11 runs Python code
# for each access to a member of an Enum, and there are twenty in the life of a request.
IDLE = "idle"
HEAD = "head"
BODY = "body"
TUNNEL = "tunnel"
CLOSED = "closed"


class UpstreamConnection(asyncio.Protocol):
    """A connection to one instance; made, kept and dropped by its :class:`Pool`.

    Attributes:
        state: Where it is.
        requests: Requests that it has been given; above 1 it is a reused one.
        received: Whether a byte of the current response has arrived.
        expires_at: When :meth:`expire` is due (see :mod:`gatewayd.timers`).

    """

    __slots__ = ("_attempt", "_body", "_buffer", "_clock", "_decoder", "_heads", "_keep_alive",
                 "_loop", "_max_head_bytes", "_pool", "_reading_paused", "_since", "_transport",
                 "_tunnel", "_upload", "_waiter", "_writable", "expires_at", "received",
                 "requests", "state")  # fmt: skip

    def __init__(self, pool: Pool, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._heads = pool.heads
        self._max_head_bytes = pool.max_head_bytes
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.state = IDLE
        self.requests = 0
        self.received = False
        self.expires_at = NEVER
        self._buffer = b""
        self._attempt: Attempt | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._body: StreamBody | None = None
        self._decoder: Decoder | None = None
        self._tunnel: Tunnel | None = None
        self._upload: Upload | None = None  # also when it has ended, until the response has
        self._writable = asyncio.Event()
        self._writable.set()
        self._keep_alive = True
        self._reading_paused = False
        self._since = 0.0  # when the current phase began

    # --- sending -----------------------------------------------------------------------------

    def send(self, attempt: Attempt) -> asyncio.Future[Response]:
        """Send a request; the future gets its response once the head is there, or what went wrong.

        Whoever gives up waiting calls :meth:`abandon`.
        """
        waiter = self._waiter = self._loop.create_future()
        transport = self._transport
        self.received = False
        if transport is None or transport.is_closing():
            waiter.set_exception(UpstreamReset("the connection was lost before", sent=False))
            self.close()
            return waiter
        self.state = HEAD
        self.requests += 1
        self._attempt = attempt
        body = attempt.body
        if type(body) is bytes:
            transport.write(attempt.head + body if body else attempt.head)
            self._arm(attempt.timeouts.first_byte)
        else:
            transport.write(attempt.head)
            self._upload = Upload(
                attempt,
                cast("Body", body),
                transport,
                self._writable,
                arm=self._arm_upload,
                fail=self._fail,
            )
            self._arm(NEVER)  # the time for an answer begins at the body's end
        return waiter

    def abandon(self, attempt: Attempt) -> None:
        """Stop working on an attempt whose waiter was cancelled.

        A cancellation can arrive after the response: the connection may by then be idle, or already
        serve somebody else.
        """
        if self._attempt is attempt:
            self.close()

    def _arm_upload(self, seconds: float) -> None:
        if self.state == HEAD:  # later the response's own time-outs count
            self._arm(seconds)

    # --- receiving ---------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what arrived, as the state says."""
        if self.state == HEAD:
            self.received = True
            self._take_head(self._buffer + data if self._buffer else data)
        elif self.state == BODY:
            if self._feed(data):
                self._end_response()
        else:
            self.close()  # bytes that belong to no request

    def _take_head(self, data: bytes) -> None:
        attempt = self._attempt
        assert attempt is not None  # noqa: S101  # there is one in this state
        while self.state == HEAD:
            text, mark, rest = data.partition(b"\r\n\r\n")
            if len(text) + len(mark) > self._max_head_bytes:
                self._fail(BadResponse("the response head is too large", sent=True))
                return
            if not mark:
                self._buffer = data
                return
            self._buffer = b""
            try:
                head = self._heads.parse(text)
            except HeadError as error:
                self._fail(BadResponse(str(error), sent=True))
                return
            if head.status >= 200:
                self._start_response(attempt, head, rest)
                return
            if head.status == 101:
                self._start_tunnel(attempt, head, rest)
                return
            self._take_interim(attempt, head)
            if not rest:
                return
            data = rest

    def _take_interim(self, attempt: Attempt, head: ResponseHead) -> None:
        attempt.interim += 1
        if attempt.interim > _MAX_INTERIM:
            self._fail(BadResponse(f"more than {_MAX_INTERIM} interim responses", sent=True))
        elif head.status == 100:  # answers our own Expect, not the client's
            if self._upload is not None:
                self._upload.asked.set()
        else:
            attempt.on_interim(head.status, head.headers.copy())

    def _start_response(self, attempt: Attempt, head: ResponseHead, rest: bytes) -> None:
        self._keep_alive = head.keep_alive
        framing = 0 if attempt.method == "HEAD" else head.framing
        if not 0 <= framing <= len(rest):
            self._start_stream(attempt, head, rest)
            return
        body: bytes | Body = rest
        if framing < len(rest):
            self._keep_alive = False  # bytes behind the end belong to no request
            body = rest[:framing]
        if framing == 0 and head.content_length != 0:
            body = NoBody(head.content_length)
        waiter = self._waiter  # as _deliver does, without the call: most responses come here
        if waiter is not None and not waiter.done():
            waiter.set_result(Response(head.status, head.headers.copy(), body))
        self._end_response()

    def _start_stream(self, attempt: Attempt, head: ResponseHead, rest: bytes) -> None:
        """Start a response whose body has not arrived with its head, or not as plain bytes."""
        framing = head.framing
        stream = self._body = StreamBody(
            None if framing < 0 else framing,
            pause=self._pause_reading,
            resume=self._resume_reading,
            on_close=self.close,
        )
        self.state = BODY
        if framing == CHUNKED:
            self._decoder = ChunkedDecoder(stream)
        elif framing == UNTIL_CLOSE:
            self._decoder = CloseDecoder(stream)
        else:
            self._decoder = LengthDecoder(stream, framing)
        complete = False
        if rest:
            complete = self._feed(rest)
        else:
            self._arm(attempt.timeouts.between_bytes)
        whole = stream.take_all()
        body = stream if whole is None else whole
        self._deliver(Response(head.status, head.headers.copy(), body))
        if complete:  # after the response is on its way: this may close the connection
            self._end_response()

    def _feed(self, data: bytes) -> bool:
        """Take a piece of the body; return whether that was the last one."""
        decoder = cast("Decoder", self._decoder)
        try:
            rest = decoder.feed(data)
        except FramingError as error:
            self._fail(BadResponse(str(error), sent=True))
            return False
        if rest is None:
            if not self._reading_paused:
                self._arm(cast("Attempt", self._attempt).timeouts.between_bytes)
            return False
        if rest:
            self._keep_alive = False
        return True

    def _deliver(self, response: Response) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(response)

    def _end_response(self) -> None:
        """The response is complete: keep the connection if request and response were whole."""
        self._body = None
        self._decoder = None
        self._attempt = None
        self.state = IDLE
        upload = self._upload
        # With a request that is still being sent this is an early answer: what is left of it would
        # have to be read by an instance that has lost interest (RFC 9112 section 9.6).
        early = upload is not None and upload.sending
        if early or not self._keep_alive or self._transport is None:
            self.close()
            return
        self._upload = None
        self.expires_at = NEVER
        self._pool.give_back(self)

    def _start_tunnel(self, attempt: Attempt, head: ResponseHead, rest: bytes) -> None:
        offered = head.upgrade.decode("latin-1") if head.upgrade else None
        asked = attempt.upgrade is not None and offered == attempt.upgrade
        early = self._upload is not None and self._upload.sending
        if not asked or early or self._transport is None:
            self._fail(BadResponse("101 that was not asked for, or too early", sent=True))
            return
        self.state = TUNNEL
        self.expires_at = NEVER
        tunnel = self._tunnel = Tunnel(
            self._transport,
            rest,
            idle_timeout=attempt.timeouts.tunnel_idle,
            sweeper=self._pool.sweeper,
            on_end=self.close,
        )
        self._deliver(Response(101, head.headers.copy(), tunnel=tunnel))

    # --- back-pressure and deadlines ---------------------------------------------------------

    def _pause_reading(self) -> None:
        self._arm(NEVER)  # the client is slow, not the instance
        if self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._transport is None:
            return
        self._reading_paused = False
        self._arm(cast("Attempt", self._attempt).timeouts.between_bytes)
        self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Hold the request's body: the transport's buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on with the request's body."""
        self._writable.set()

    def _arm(self, seconds: float) -> None:
        """Set the deadline of the current phase; the exchange's own deadline always holds."""
        self._since = now = self._clock()
        end = now + seconds
        attempt = self._attempt
        if attempt is not None:  # compared one by one: min() is 0.1 us, and this is every request's
            if attempt.deadline < end:
                end = attempt.deadline
            if attempt.answer_by < end and self.state == HEAD:
                end = attempt.answer_by
        self.expires_at = end

    def expire(self, now: float) -> None:
        """Break off what took too long."""
        if self.state == IDLE:
            self.close()
            return
        attempt = self._attempt
        if attempt is None:
            return  # it has ended in the same sweep
        if self.state == HEAD and self._upload is not None:
            limit = min(attempt.deadline, attempt.answer_by)
            if now < limit and self._upload.prolong():
                return
        total = attempt.deadline <= now
        phase = "the exchange's deadline passed" if total else f"timed out in {self.state}"
        error = UpstreamTimeout(phase, sent=True)
        error.instance_failed = self._blames_instance(attempt, now)
        self._fail(error)

    def _blames_instance(self, attempt: Attempt, now: float) -> bool:
        """Whether it is the instance that was too slow."""
        if self._upload is not None and self._upload.waits_for_client:
            return False
        if self.state == BODY:
            return attempt.deadline > now  # within its deadline a body moves at the client's pace
        if now < min(attempt.deadline, attempt.answer_by):
            return True  # it had all of the time that is its own
        return attempt.gives_time(self._since)

    # --- the end -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> bool:
        """Take the end-of-file that is how some bodies end, and let the transport close.

        Over TLS it comes here only if the instance has announced it: a body that somebody cuts off
        is not taken for a whole one (RFC 9112 section 9.8).
        """
        if self.state == BODY and cast("Decoder", self._decoder).feed_eof():
            self._keep_alive = False
            self._end_response()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End whatever goes on."""
        self._transport = None
        if self.state in (HEAD, BODY):
            where = "head" if self.state == HEAD else "body"
            cause = f"connection closed in the response's {where}" + (f": {exc!r}" if exc else "")
            self._fail(UpstreamReset(cause, sent=True))
        self.close()

    def _fail(self, error: Exception) -> None:
        """End the exchange with an error, and the connection with it."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        elif self._body is not None:
            self._body.fail(error)
        self.close()

    def close(self) -> None:
        """Close the connection and tell the pool. Safe to call twice."""
        if self.state == CLOSED:
            return
        uploading = self._upload is not None and self._upload.sending
        unfinished = self.state != IDLE or uploading
        self.state = CLOSED
        self.expires_at = NEVER
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(UpstreamReset("connection closed", sent=True))
        if self._body is not None:
            self._body.fail(UpstreamReset("connection closed in the response's body", sent=True))
            self._body = None
        if self._tunnel is not None:
            self._tunnel.close()  # it has the transport, and may be what has ended
        elif self._transport is not None:
            if unfinished:
                self._transport.abort()  # close() would wait for an instance that takes nothing
            else:
                self._transport.close()
        self._transport = None
        self._attempt = None
        self._pool.drop(self)

    def __repr__(self) -> str:
        return f"<upstream connection to {self._pool.url}: {self.state}>"
