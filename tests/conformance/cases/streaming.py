"""Bodies that stream, bodies that are large, and tunnels (RFC 9110 section 7.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.case import Case, Outcome
from tests.conformance.client import (
    half_close,
    opens,
    pause,
    reset,
    resume,
    until_closed,
    until_content,
    until_interim,
    until_origin_has,
    until_responses,
    until_tunnel,
    until_upstream_closed,
)
from tests.conformance.messages import SMUGGLED, chunked, post, request, sized
from tests.conformance.origin import answer, body, close, echo_tunnel, gate
from tests.conformance.origin import reset as origin_reset
from tests.conformance.outcome import (
    ABORTED,
    DROPPED,
    UNANSWERED,
    answered,
    content,
    forwarded,
    interim,
    origin_content,
    origin_has,
    origin_lacks,
    origin_targets,
    refused,
    tunnel,
    tunnelled,
)
from tests.conformance.targets import MAX_BODY

if TYPE_CHECKING:
    from tests.conformance.case import Observation

_SOURCE = "RFC 9112 section 7.1"
_CHUNKED = b"Transfer-Encoding: chunked"
_LARGE = bytes(range(256)) * 3600  # 921,600 bytes, just below what is too large


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


# Whether the rest of the body still goes to the origin is up to the proxy.
_EARLY = Outcome("forwarded", (frozenset({200}),), checks=(content(b"early"),))

_STREAMS = (
    Case("stream-down", "each chunk goes on before the next one exists", _SOURCE,
         (request(), until_content(b"one"), opens("two"), until_content(b"two"), opens("end")),
         (forwarded(content(b"onetwo")),),
         replies=((body, answer(_chunk(b"one"), _CHUNKED, length=False), gate("two"),
                   _chunk(b"two"), gate("end"), b"0\r\n\r\n"),)),
    Case("stream-down-length", "likewise with Content-Length", "RFC 9112 section 6.3",
         (request(), until_content(b"one"), opens("two")), (forwarded(content(b"onetwo")),),
         replies=((body, answer(b"one", b"Content-Length: 6", length=False), gate("two"),
                   b"two"),)),
    Case("stream-down-close", "likewise until the connection closes", "RFC 9112 section 6.3",
         (request(), until_content(b"one"), opens("two")), (forwarded(content(b"onetwo")),),
         replies=((body, answer(b"one", length=False), gate("two"), b"two", close),)),
    Case("stream-up", "each chunk reaches the origin before the next one exists", _SOURCE,
         (chunked(_chunk(b"one")), until_origin_has(1, 3), _chunk(b"two"),
          until_origin_has(1, 6), b"0\r\n\r\n"),
         (forwarded(origin_content(b"onetwo")),)),
    Case("stream-up-length", "likewise with Content-Length", "RFC 9112 section 6.3",
         (post(b"Content-Length: 6", body=b"one"), until_origin_has(1, 3), b"two"),
         (forwarded(origin_content(b"onetwo")),)),
    Case("stream-both", "both ways at once", "RFC 9112 section 9.3",
         (chunked(_chunk(b"one")), until_content(b"two"), _chunk(b"three"), b"0\r\n\r\n"),
         (forwarded(content(b"two"), origin_content(b"onethree")),),
         replies=((answer(_chunk(b"two"), _CHUNKED, length=False), body, b"0\r\n\r\n"),)),
    Case("early-answer", "a final answer before the body has come", "RFC 9112 section 9.5",
         (post(b"Content-Length: 10", body=b"hello"), until_responses(1), half_close),
         (forwarded(content(b"early"), requests=0),),
         replies=((answer(b"early", b"Connection: close"), body),), probe=False),
    Case("early-answer-whole", "a final answer before the body, which comes all the same",
         "RFC 9112 section 9.5",
         (post(b"Content-Length: 10", body=b"hello"), until_responses(1), b"world", half_close),
         (forwarded(content(b"early")), forwarded(content(b"early"), requests=0)),
         replies=((answer(b"early"), body),), probe=False),
    Case("early-answer-large", "a final answer before a large body", "RFC 9112 section 9.5",
         (sized(_LARGE),), (_EARLY,), replies=((answer(b"early"), body),)),
    Case("early-answer-unread", "a final answer while the whole body waits for 100 Continue",
         "RFC 9110 section 10.1.1",
         (post(b"Content-Length: 65537", b"Expect: 100-continue"), until_origin_has(1),
          b"x" * 65537, opens("early")),
         (_EARLY,), replies=((gate("early"), answer(b"early"), body),)),
    Case("early-answer-close", "the origin answers and closes while a large body comes",
         "RFC 9112 section 9.6", (sized(_LARGE),),
         (forwarded(content(b"no"), statuses=(403,), requests=0), answered(502, 503), ABORTED,
          forwarded(content(b"no"), statuses=(403,), requests=1)),
         replies=((answer(b"no", b"Connection: close", status=b"403 Forbidden"), close),),
         probe=False),
    Case("early-reset", "the origin resets while a body comes", "RFC 9112 section 9.5",
         (post(b"Content-Length: 10", body=b"hello"), until_responses(1), half_close),
         (answered(502, 503), UNANSWERED), (answered(502),), replies=((origin_reset,),),
         probe=False),
)  # fmt: skip

_SIZES = (
    Case("large-up", "a body of 900 KB with Content-Length", "RFC 9112 section 6.3",
         (sized(_LARGE),), (forwarded(origin_content(_LARGE)),)),
    Case("large-up-chunked", "a chunked body of 900 KB", _SOURCE,
         (chunked(_chunk(_LARGE) + b"0\r\n\r\n"),), (forwarded(origin_content(_LARGE)),)),
    Case("large-down", "a response of 4 MB with Content-Length", "RFC 9112 section 6.3",
         (request(),), (forwarded(content(_LARGE * 4)),), replies=((body, answer(_LARGE * 4)),)),
    Case("large-down-chunked", "a chunked response of 4 MB", _SOURCE, (request(),),
         (forwarded(content(_LARGE * 4)),),
         replies=((body, answer(_chunk(_LARGE) * 4 + b"0\r\n\r\n", _CHUNKED, length=False)),)),
    Case("large-both", "900 KB both ways", "RFC 9112 section 6.3", (sized(_LARGE),),
         (forwarded(content(_LARGE), origin_content(_LARGE)),),
         replies=((body, answer(_LARGE)),)),
    Case("large-slow-client", "the client is slow to read the response", "RFC 9112 section 6.3",
         (pause, request(), until_origin_has(1), resume),
         (forwarded(content(_LARGE * 8)),),
         replies=((body, answer(_LARGE * 8)),)),
    Case("large-slow-origin", "the origin is slow to read the body", "RFC 9112 section 9.5",
         (sized(_LARGE), opens("read")), (forwarded(origin_content(_LARGE)),),
         replies=((gate("read"), body, answer(b"ok")),)),
    Case("body-too-large", "a declared body above the limit", "RFC 9110 section 15.5.14",
         (sized(b"x" * (MAX_BODY + 1)),), (forwarded(), answered(413), DROPPED), (answered(413),)),
    Case("body-too-large-chunked", "a chunked body above the limit",
         "RFC 9110 section 15.5.14",
         (chunked(_chunk(b"x" * 500_000) * 3 + b"0\r\n\r\n"),),
         (forwarded(), answered(413), DROPPED), (answered(413),)),
    Case("body-at-limit", "a body of exactly the limit", "RFC 9110 section 15.5.14",
         (sized(b"x" * MAX_BODY),), (forwarded(),)),
)  # fmt: skip

_UPGRADE = "RFC 9110 section 7.8"
_HANDSHAKE = request(
    b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def _switched(seen: Observation) -> str | None:
    if not seen.interim:
        return "no 101"
    fields = seen.interim[-1]
    if fields.tokens("connection") != [b"upgrade"] or fields.tokens("upgrade") != [b"websocket"]:
        return "101 without Connection: Upgrade or Upgrade"
    return None if fields.header("Sec-WebSocket-Accept") else "no Sec-WebSocket-Accept"


def _tunnel(expected: bytes) -> Outcome:
    return tunnel(
        interim(101), _switched, tunnelled(expected), origin_has("Upgrade", b"websocket"),
        origin_has("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    )  # fmt: skip


_TUNNELS = (
    Case("tunnel", "WebSocket: bytes both ways, end with the client's", _UPGRADE,
         (_HANDSHAKE, until_interim(101), b"\x00ping", until_tunnel(5), half_close,
          until_closed),
         (_tunnel(b"\x00ping"),),
         replies=((body, _SWITCH, echo_tunnel),), responses=0, probe=False),
    Case("tunnel-early-client", "bytes of the client right behind its handshake", _UPGRADE,
         (_HANDSHAKE + b"early", until_tunnel(5), half_close, until_closed),
         (_tunnel(b"early"),),
         replies=((body, _SWITCH, echo_tunnel),), responses=0, probe=False),
    Case("tunnel-early-origin", "bytes of the origin right behind its 101", _UPGRADE,
         (_HANDSHAKE, until_tunnel(5), half_close, until_closed),
         (_tunnel(b"early"),),
         replies=((body, _SWITCH + b"early", echo_tunnel),), responses=0, probe=False),
    Case("tunnel-origin-closes", "the origin ends the tunnel", _UPGRADE,
         (_HANDSHAKE, until_closed), (_tunnel(b"bye"),),
         replies=((body, _SWITCH + b"bye", close),), responses=0, probe=False),
    Case("tunnel-large", "900 KB through the tunnel and back", _UPGRADE,
         (_HANDSHAKE, until_interim(101), _LARGE, until_tunnel(len(_LARGE)), half_close,
          until_closed),
         (_tunnel(_LARGE),),
         replies=((body, _SWITCH, echo_tunnel),), responses=0, probe=False),
    Case("tunnel-http-inside", "what looks like HTTP inside a tunnel is bytes", _UPGRADE,
         (_HANDSHAKE, until_interim(101), SMUGGLED, until_tunnel(len(SMUGGLED)), half_close,
          until_closed),
         (_tunnel(SMUGGLED),),
         replies=((body, _SWITCH, echo_tunnel),), responses=0, probe=False),
    Case("tunnel-client-resets", "the client breaks the tunnel off: the origin is told", _UPGRADE,
         (_HANDSHAKE, until_interim(101), b"ping", until_tunnel(4), reset, until_upstream_closed),
         (_tunnel(b"ping"),), replies=((body, _SWITCH, echo_tunnel),), responses=0, probe=False),
    Case("tunnel-refused", "a refused upgrade goes on as HTTP", _UPGRADE,
         (_HANDSHAKE,), (forwarded(statuses=(403,), closed=False),
                         forwarded(statuses=(403,), closed=True)),
         (forwarded(statuses=(403,), closed=False),),
         replies=((body, answer(b"no", status=b"403 Forbidden")),)),
    Case("tunnel-ignored", "an upgrade that the origin ignores goes on as HTTP", _UPGRADE,
         (_HANDSHAKE,), (forwarded(content(b"ok")),), replies=((body, answer(b"ok")),)),
    Case("tunnel-refused-pipelined", "requests behind a refused upgrade are requests", _UPGRADE,
         (_HANDSHAKE + SMUGGLED,),
         (forwarded(origin_targets(b"/t/", b"/t/smuggled"), statuses=(426, 200)),
          forwarded(origin_targets(b"/t/"), statuses=(426,), closed=True)),
         replies=((body, answer(b"no", status=b"426 Upgrade Required")),), responses=2),
    Case("tunnel-1.0", "no upgrade for HTTP/1.0", _UPGRADE,
         (request(b"Connection: Upgrade", b"Upgrade: websocket", version=b"HTTP/1.0"),),
         (forwarded(origin_lacks("Upgrade")), answered(400, 426), refused(400))),
    Case("tunnel-no-connection", "Upgrade without Connection: Upgrade is no upgrade", _UPGRADE,
         (request(b"Upgrade: websocket"),), (forwarded(origin_lacks("Upgrade")),)),
    Case("tunnel-connection-list", "Connection: keep-alive, Upgrade, as browsers send",
         _UPGRADE,
         (_HANDSHAKE.replace(b"Connection: ", b"Connection: keep-alive, "), until_interim(101),
          b"ping", until_tunnel(4), half_close, until_closed),
         (_tunnel(b"ping"),),
         replies=((body, _SWITCH, echo_tunnel),), responses=0, probe=False),
)  # fmt: skip

CASES = (*_STREAMS, *_SIZES, *_TUNNELS)
